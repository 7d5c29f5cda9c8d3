#include <gtest/gtest.h>

#include "methods/structure/planted_groups.h"

namespace sparing {
namespace {

using testing::Groups;

// By hand: inputs 0 and 1 are the same number, 2 is alone and small, 3 alone and large. Without damping 0 or 1 goes for
// nothing; then 2, which costs its weight squared times its power.
TEST(Ziplm, WhatAnotherInputTellsGoesForNothing) {
  const std::vector<float> weight = {5, 4, 1, 1}, h = {9, 9, 0, 0, 9, 9, 0, 0, 0, 0, 2, 0, 0, 0, 0, 50};
  const Method& ziplm = *find_method("ziplm").value();
  const StructureProblem problem{
      .site = "test",
      .weight = {.rows = 1, .cols = 4, .span = 1, .weight = weight, .h = h, .row_weights = {}},
      .most = 2};
  const auto ranking = ziplm.rank(problem, Params::make(ziplm, {{"damping", "0"}}).value());
  ASSERT_TRUE(ranking.ok());
  EXPECT_LT(ranking->order[0], 2);
  EXPECT_NEAR(ranking->loss[0], 0, 1e-3);
  EXPECT_EQ(ranking->order[1], 2);
  EXPECT_NEAR(ranking->loss[1], 2, 1e-2);
}

// The paper's claim, on planted data: at a quarter of the channels gone, and of the heads, less is lost than by taking
// out those with the least outputs, made up for alike.
TEST(Ziplm, LosesLessThanTakingOutTheSmallest) {
  for (const std::int64_t span : {1, 4}) {
    const Groups planted(24, 64, span, 5);
    const double ours = planted.loss_of("ziplm", planted.problem().groups() / 4);
    EXPECT_LT(ours, 0.8 * planted.loss_of_smallest(planted.problem().groups() / 4)) << span;
  }
}

}  // namespace
}  // namespace sparing
