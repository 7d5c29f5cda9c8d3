#include "eval/roofline.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/system.h"
#include "base/units.h"
#include "eval/peak_ops.h"

namespace sparing {
namespace {

using Clock = std::chrono::steady_clock;
using Line = std::uint64_t __attribute__((vector_size(64)));

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

[[gnu::always_inline]] inline std::uint64_t sum_lines(const std::byte* data, std::int64_t lines) {
  Line sums[4] = {};
  std::int64_t i = 0;
  for (; i + 4 <= lines; i += 4) {
    Line part[4];
    std::memcpy(part, data + i * 64, sizeof part);
    for (int j = 0; j < 4; ++j) sums[j] += part[j];
  }
  std::uint64_t total = 0;
  for (const Line& sum : sums) {
    for (int lane = 0; lane < 8; ++lane) total += sum[lane];
  }
  return total;
}

std::uint64_t sum_plain(const std::byte* data, std::int64_t lines) {
  return sum_lines(data, lines);
}
#if defined(__x86_64__)
[[gnu::target("avx2")]] std::uint64_t sum_avx2(const std::byte* data, std::int64_t lines) {
  return sum_lines(data, lines);
}
[[gnu::target("avx512f")]] std::uint64_t sum_avx512(const std::byte* data, std::int64_t lines) {
  return sum_lines(data, lines);
}
#endif

double read_bandwidth(ThreadPool& pool, std::uint64_t most) {
  auto sum = sum_plain;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) sum = sum_avx2;
  if (__builtin_cpu_supports("avx512f")) sum = sum_avx512;
#endif
  // Larger than the last-level cache, less where memory is short.
  const auto cache = static_cast<std::uint64_t>(std::max<long>(::sysconf(_SC_LEVEL3_CACHE_SIZE), 0));
  const std::uint64_t wanted = std::clamp<std::uint64_t>(cache + cache / 4, 256 * kMiB, 768 * kMiB);
  const std::uint64_t size =
      std::max(std::min({wanted, available_memory() / 4, most}), 16 * kMiB) / (2 * kMiB) * (2 * kMiB);
  void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 0;
  ::madvise(memory, size, MADV_HUGEPAGE);
  auto* data = static_cast<std::byte*>(memory);
  const auto lines = static_cast<std::int64_t>(size / 64);
  // Written by the threads that will read it, so that it lies near them.
  pool.parallel_for(lines, 4, [&](std::int64_t begin, std::int64_t end, int) {
    std::memset(data + begin * 64, 1, static_cast<std::size_t>(end - begin) * 64);
  });
  double best = 0;
  std::vector<std::uint64_t> sums(static_cast<std::size_t>(pool.size()) * 8);
  for (int pass = 0; pass < 4; ++pass) {
    const auto start = Clock::now();
    pool.parallel_for(lines, 4, [&](std::int64_t begin, std::int64_t end, int worker) {
      sums[static_cast<std::size_t>(worker) * 8] += sum(data + begin * 64, end - begin);
    });
    best = std::max(best, static_cast<double>(size) / since(start));
  }
  ::munmap(memory, size);
  // The sums are used, so that the reads are not left out.
  return sums[0] == 0 ? 0 : best;
}

double rate(ThreadPool& pool, const PeakKernel& kernel) {
  double best = 0;
  std::int64_t rounds = 1 << 12;
  for (int pass = 0; pass < 8;) {
    const auto start = Clock::now();
    pool.parallel_for(pool.size(), 1, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t i = begin; i < end; ++i) kernel.run(rounds);
    });
    const double seconds = since(start);
    if (seconds < 0.005) {
      rounds *= 4;
      continue;
    }
    best =
        std::max(best, static_cast<double>(pool.size()) * static_cast<double>(rounds) * kernel.ops_per_round / seconds);
    ++pass;
  }
  return best;
}

}  // namespace

Roofline measure_roofline(ThreadPool& pool, std::uint64_t most_memory) {
  Roofline roofline;
  roofline.read_bandwidth = read_bandwidth(pool, most_memory);
  const PeakKernel int8 = best_int8_kernel(), f32 = best_f32_kernel();
  roofline.int8_unit = int8.unit;
  roofline.int8_ops = rate(pool, int8);
  roofline.f32_unit = f32.unit;
  roofline.f32_ops = rate(pool, f32);
  return roofline;
}

}  // namespace sparing
