#pragma once
// What this machine and process have: memory, features.

#include <cstdint>
#include <string>

namespace sparing {

/// Bytes that can be allocated now without swapping (MemAvailable, capped by the cgroup limit).
std::uint64_t available_memory();
/// Peak resident set of this process, bytes (VmHWM).
std::uint64_t peak_resident_bytes();
/// Resident set now, bytes (VmRSS).
std::uint64_t resident_bytes();
/// "Intel(R) Xeon(R) ..." from /proc/cpuinfo.
std::string cpu_model_name();

}  // namespace sparing
