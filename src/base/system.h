#pragma once
// What this machine and process have: memory, features.

#include <cstdint>
#include <string>

namespace sparing {

/// Bytes that can be allocated now without swapping (MemAvailable, capped by the cgroup limit).
std::uint64_t available_memory();
/// Peak resident set of this process since it started or since restart_peak_resident(), bytes (VmHWM).
std::uint64_t peak_resident_bytes();
/// Starts the peak again from what is resident now. False where the system does not let a process do that.
bool restart_peak_resident();
/// Resident set now, bytes (VmRSS).
std::uint64_t resident_bytes();
/// Gives the system what malloc keeps of freed blocks: holes between others that no later stage may need.
void give_back_free_memory();
/// "Intel(R) Xeon(R) ..." from /proc/cpuinfo.
std::string cpu_model_name();

}  // namespace sparing
