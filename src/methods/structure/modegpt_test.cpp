#include <gtest/gtest.h>

#include "methods/structure/planted_groups.h"

namespace sparing {
namespace {

using testing::Groups;

// By hand: of two inputs that say the same, one goes before one that is alone.
TEST(Modegpt, RepeatedInputsHaveTheLeastLeverage) {
  const std::vector<float> weight = {1, 1, 1}, h = {4, 4, 0, 4, 4, 0, 0, 0, 4};
  const Method& modegpt = *find_method("modegpt").value();
  const StructureProblem problem{
      .site = "test",
      .weight = {.rows = 1, .cols = 3, .span = 1, .weight = weight, .h = h, .row_weights = {}},
      .most = 1};
  const auto ranking = modegpt.rank(problem, Params::make(modegpt, {{"damping", "0"}, {"ridge", "0.001"}}).value());
  ASSERT_TRUE(ranking.ok());
  EXPECT_LT(ranking->order[0], 2);
  EXPECT_NEAR(ranking->loss[0], 0, 1e-3);
}

// The paper's claim, on planted data: the neurons with the highest ridge leverage are better kept than the largest.
TEST(Modegpt, LosesLessThanTakingOutTheSmallest) {
  const Groups planted(24, 64, 1, 5);
  EXPECT_LT(planted.loss_of("modegpt", 16), 0.8 * planted.loss_of_smallest(16));
}

}  // namespace
}  // namespace sparing
