#include "base/system.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

// Sanitizers bring a malloc of their own.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SPARING_SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SPARING_SANITIZED
#endif
#endif

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

TEST(System, FreedBlocksBetweenOthersAreGivenBack) {
  constexpr std::size_t size = 100 << 10, count = 1000;
  std::vector<std::unique_ptr<std::vector<char>>> blocks, kept;
  for (std::size_t i = 0; i < count; ++i) {
    blocks.push_back(std::make_unique<std::vector<char>>(size, 1));
    kept.push_back(std::make_unique<std::vector<char>>(64, 1));
  }
  const std::uint64_t before = resident_bytes();
  blocks.clear();
  give_back_free_memory();
#if defined(__GLIBC__) && !defined(SPARING_SANITIZED)
  EXPECT_LT(resident_bytes() + count * size / 2, before);
#else
  EXPECT_LT(resident_bytes(), before + count * size);
#endif
  EXPECT_EQ(kept.back()->front(), 1);
}

TEST(System, TheProcessorHasAName) {
  EXPECT_FALSE(cpu_model_name().empty());
}

}  // namespace
}  // namespace sparing
