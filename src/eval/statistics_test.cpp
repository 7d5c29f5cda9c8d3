#include "eval/statistics.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace sparing {
namespace {

TEST(Statistics, PairedTestByHand) {
  // Differences 1, 2, 3: of the 8 sums only +6 and -6 are as far as 6.
  const PairedTest three = paired_test(std::vector<double>{2, 4, 6}, std::vector<double>{1, 2, 3});
  EXPECT_DOUBLE_EQ(three.p_value, 2.0 / 8);
  EXPECT_DOUBLE_EQ(three.difference.value, 2);
  // Differences 1, 1, -1: every sum is at least as far from 0 as 1.
  EXPECT_DOUBLE_EQ(paired_test(std::vector<double>{1, 1, 0}, std::vector<double>{0, 0, 1}).p_value, 1);
  EXPECT_DOUBLE_EQ(paired_test(std::vector<double>{3, 3}, std::vector<double>{3, 3}).p_value, 1);
  EXPECT_DOUBLE_EQ(paired_test({}, {}).p_value, 1);
}

TEST(Statistics, PairedTestOfManyPairs) {
  Rng rng(3);
  std::vector<double> a, b, c;
  for (int i = 0; i < 100; ++i) {
    const double window = 5 * rng.normal();
    a.push_back(window + 0.1 * rng.normal());
    b.push_back(window + 0.1 * rng.normal());
    c.push_back(window + 0.1 * rng.normal() + 0.1);
  }
  EXPECT_GT(paired_test(a, b).p_value, 0.01);
  // A difference far below the spread between windows is seen, since the windows are the same.
  EXPECT_LT(paired_test(c, a).p_value, 1e-3);
  EXPECT_GT(paired_test(c, a).p_value, 0);
  EXPECT_EQ(paired_test(c, a).p_value, paired_test(c, a).p_value);
}

}  // namespace
}  // namespace sparing
