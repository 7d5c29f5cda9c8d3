#include "base/checked.h"

#include <gtest/gtest.h>

namespace sparing {
namespace {

constexpr std::uint64_t kMost = ~std::uint64_t{0};

TEST(Checked, OverflowIsNothing) {
  EXPECT_EQ(checked_add(kMost, 0), kMost);
  EXPECT_EQ(checked_add(kMost, 1), std::nullopt);
  EXPECT_EQ(checked_mul(1ull << 32, (1ull << 32) - 1), 0xFFFFFFFF00000000ull);
  EXPECT_EQ(checked_mul(1ull << 32, 1ull << 32), std::nullopt);
  EXPECT_EQ(checked_mul(0, kMost), 0u);
}

TEST(Checked, Rounding) {
  EXPECT_EQ(ceil_div(0, 64), 0u);
  EXPECT_EQ(ceil_div(1, 64), 1u);
  EXPECT_EQ(ceil_div(kMost, 64), 1ull << 58);  // no wrap on the way
  EXPECT_EQ(round_up(65, 64), 128u);
  EXPECT_EQ(round_up(64, 64), 64u);
}

}  // namespace
}  // namespace sparing
