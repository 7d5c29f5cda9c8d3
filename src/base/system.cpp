#include "base/system.h"

#include <algorithm>
#include <fstream>
#include <string>

namespace sparing {
namespace {

/// A "Name:   123 kB" line of a /proc file, in bytes; 0 if absent.
std::uint64_t proc_field(const char* file, const std::string& name) {
  std::ifstream in(file);
  std::string line;
  while (std::getline(in, line)) {
    if (line.rfind(name + ":", 0) == 0) return std::stoull(line.substr(name.size() + 1)) * 1024;
  }
  return 0;
}

std::uint64_t read_number(const char* file, std::uint64_t otherwise) {
  std::ifstream in(file);
  std::uint64_t value = 0;
  return in >> value ? value : otherwise;
}

}  // namespace

std::uint64_t available_memory() {
  const std::uint64_t machine = proc_field("/proc/meminfo", "MemAvailable");
  const std::uint64_t limit = read_number("/sys/fs/cgroup/memory.max", ~std::uint64_t{0});
  const std::uint64_t used = read_number("/sys/fs/cgroup/memory.current", 0);
  return std::min(machine, limit > used ? limit - used : 0);
}
std::uint64_t peak_resident_bytes() {
  return proc_field("/proc/self/status", "VmHWM");
}
std::uint64_t resident_bytes() {
  return proc_field("/proc/self/status", "VmRSS");
}

std::string cpu_model_name() {
  std::ifstream in("/proc/cpuinfo");
  std::string line;
  while (std::getline(in, line)) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown processor";
}

}  // namespace sparing
