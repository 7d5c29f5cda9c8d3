#include "base/rng.h"

#include <gtest/gtest.h>

#include <array>
#include <set>

namespace sparing {
namespace {

TEST(Rng, SameSeedSameStream) {
  Rng a(7), b(7), c(8);
  const auto first = a.next();
  EXPECT_EQ(first, b.next());
  EXPECT_NE(first, c.next());
}

// Of the published generators: splitmix64 from 0 begins e220a8397b1dcdaf, 6e789e6aa1b965f4, 06c45d188009454f,
// f88bb8a8724c81ec; xoshiro256** then gives rotl(s1 * 5, 7) * 9.
TEST(Rng, BeginsAsPublished) {
  constexpr std::uint64_t s1 = 0x6e789e6aa1b965f4ull * 5;
  EXPECT_EQ(Rng(0).next(), ((s1 << 7) | (s1 >> 57)) * 9);
}

TEST(Rng, NeighbouringStreamsShareNoDraws) {
  std::set<std::uint64_t> seen;
  for (std::uint64_t stream = 0; stream < 64; ++stream) {
    Rng rng(1, stream);
    for (int i = 0; i < 64; ++i) seen.insert(rng.next());
  }
  EXPECT_EQ(seen.size(), 64u * 64u);
}

TEST(Rng, Moments) {
  Rng rng(3);
  double mean = 0, square = 0, uniform = 0;
  constexpr int n = 40000;
  for (int i = 0; i < n; ++i) {
    const double x = rng.normal(), u = rng.uniform();
    mean += x / n;
    square += x * x / n;
    uniform += u / n;
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
  }
  EXPECT_NEAR(mean, 0, 0.025);
  EXPECT_NEAR(square, 1, 0.04);
  EXPECT_NEAR(uniform, 0.5, 0.008);
}

TEST(Rng, BelowIsEvenAndInRange) {
  Rng rng(5);
  std::array<int, 7> counts{};
  for (int i = 0; i < 70000; ++i) ++counts.at(rng.below(7));
  for (int count : counts) EXPECT_NEAR(count, 10000, 500);
  EXPECT_EQ(rng.below(1), 0u);
}

}  // namespace
}  // namespace sparing
