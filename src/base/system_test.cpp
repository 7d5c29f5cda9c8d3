#include "base/system.h"

#include <gtest/gtest.h>

#include <vector>

namespace sparing {
namespace {

TEST(System, MemoryFiguresArePlausible) {
  constexpr std::uint64_t mib = 1 << 20;
  EXPECT_GT(available_memory(), 16 * mib);
  EXPECT_LT(available_memory(), 1ull << 50);
  const std::uint64_t before = resident_bytes();
  EXPECT_GT(before, mib);
  std::vector<char> touched(64 * mib, 1);
  asm volatile("" : : "r"(touched.data()) : "memory");  // or the compiler leaves the allocation out
  EXPECT_GE(resident_bytes() + mib, before + touched.size());
  EXPECT_GE(peak_resident_bytes() + mib, before + touched.size());
}

TEST(System, ThePeakCanStartAgain) {
  constexpr std::uint64_t mib = 1 << 20;
  {
    std::vector<char> touched(64 * mib, 1);
    asm volatile("" : : "r"(touched.data()) : "memory");
  }
  if (!restart_peak_resident()) GTEST_SKIP() << "this system does not let a process write its clear_refs";
  EXPECT_LT(peak_resident_bytes(), resident_bytes() + 16 * mib);
}

TEST(System, TheProcessorHasAName) {
  EXPECT_FALSE(cpu_model_name().empty());
}

}  // namespace
}  // namespace sparing
