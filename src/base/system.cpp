#include "base/system.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace sparing {
namespace {

/// The number after a line's first word, as in "VmRSS:   123 kB" or "inactive_file 4096".
std::optional<std::uint64_t> field(const char* file, const std::string& first_word) {
  std::ifstream in(file);
  std::string line;
  while (std::getline(in, line)) {
    std::istringstream words(line);
    std::string word;
    std::uint64_t value = 0;
    if (words >> word && word == first_word && words >> value) return value;
  }
  return std::nullopt;
}

std::uint64_t own_status(const char* name) {
  return field("/proc/self/status", name).value_or(0) * 1024;
}

std::uint64_t read_number(const char* file, std::uint64_t otherwise) {
  std::ifstream in(file);
  std::uint64_t value = 0;
  return in >> value ? value : otherwise;
}

}  // namespace

std::uint64_t available_memory() {
  static constexpr std::uint64_t unlimited = ~std::uint64_t{0};
  const auto kilobytes = field("/proc/meminfo", "MemAvailable:");
  const std::uint64_t machine = kilobytes ? *kilobytes * 1024 : unlimited;
  const std::uint64_t limit = read_number("/sys/fs/cgroup/memory.max", unlimited);
  if (limit == unlimited) return machine;
  // memory.current counts the page cache, mapped model files included, which the kernel gives up first.
  const char* statistics = "/sys/fs/cgroup/memory.stat";
  const std::uint64_t current = read_number("/sys/fs/cgroup/memory.current", 0);
  const std::uint64_t cache =
      field(statistics, "inactive_file").value_or(0) + field(statistics, "active_file").value_or(0);
  const std::uint64_t used = current > cache ? current - cache : 0;
  return std::min(machine, limit > used ? limit - used : 0);
}
std::uint64_t peak_resident_bytes() {
  return own_status("VmHWM:");
}
bool restart_peak_resident() {
  std::ofstream file("/proc/self/clear_refs");
  return file && file << 5 && file.flush();
}
std::uint64_t resident_bytes() {
  return own_status("VmRSS:");
}

void give_back_free_memory() {
#if defined(__GLIBC__)
  ::malloc_trim(0);
#endif
}

std::string cpu_model_name() {
  std::ifstream in("/proc/cpuinfo");
  std::string line;
  while (std::getline(in, line)) {
    const std::size_t colon = line.find(": ");
    if (line.rfind("model name", 0) == 0 && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown processor";
}

}  // namespace sparing
