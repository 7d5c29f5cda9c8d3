#pragma once
// What this machine can do at most, measured: the limits that speeds are compared with.

#include <string>

#include "base/result.h"
#include "base/thread_pool.h"

namespace sparing {

struct Roofline {
  double read_bandwidth = 0;        ///< bytes/s, all threads reading memory that no cache holds
  double int8_ops = 0;              ///< multiplies and adds of int8 into int32 a second, all threads, from registers
  double f32_ops = 0;               ///< multiplies and adds of f32 a second, all threads, from registers
  std::string int8_unit, f32_unit;  ///< "amx", "avx512_vnni", "avx2", ...
};

/// About a second. The machine's best units are measured, whatever the kernels in use. Reads a buffer larger than the
/// last-level cache, but of at most `most_memory` bytes (tests: less is quicker).
Roofline measure_roofline(ThreadPool& pool, std::uint64_t most_memory = ~std::uint64_t{0});

}  // namespace sparing
