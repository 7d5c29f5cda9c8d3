#include "plan/factors.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace sparing {
namespace {

std::vector<JointSample> planted(const std::vector<double>& factors, std::size_t count, double noise) {
  Rng rng(7);
  std::vector<JointSample> samples(count);
  for (JointSample& sample : samples) {
    for (const double f : factors) {
      sample.expected.push_back(0.1 + rng.uniform());
      sample.measured += f * sample.expected.back();
    }
    sample.measured *= 1 + noise * rng.normal();
  }
  return samples;
}

TEST(DamageFactors, FindsThePlantedOnes) {
  const auto found = fit_factors(planted({0.5, 2.0, 0.4}, 30, 0), 3);
  // A little drawn towards the common one.
  EXPECT_NEAR(found.by_class[0], 0.5, 0.1);
  EXPECT_NEAR(found.by_class[1], 2.0, 0.1);
  EXPECT_NEAR(found.by_class[2], 0.4, 0.1);
  EXPECT_LT(found.residual, 0.05);
}

TEST(DamageFactors, NeverNextToNothingWhereTheDataAsk) {
  for (const double f : fit_factors(planted({1.0, 0.0}, 20, 0), 2).by_class) EXPECT_GT(f, 0.05);
  for (const double f : fit_factors(planted({1.0, -0.2}, 20, 0), 2).by_class) EXPECT_GT(f, 0.0);
}

TEST(DamageFactors, OneFactorIsExactWhereAllShareIt) {
  const auto found = fit_factors(planted({1.7, 1.7, 1.7}, 5, 0), 3);
  for (const double f : found.by_class) EXPECT_NEAR(f, 1.7, 1e-6);
  EXPECT_LT(found.residual, 1e-6);
}

TEST(DamageFactors, ResidualSaysHowNoisyTheSamplesAre) {
  const auto found = fit_factors(planted({1.0, 1.0}, 40, 0.2), 2);
  EXPECT_GT(found.residual, 0.1);
  EXPECT_LT(found.residual, 0.4);
}

TEST(DamageFactors, NothingMeasuredNothingKnown) {
  const auto found = fit_factors({}, 2);
  EXPECT_EQ(found.by_class, (std::vector<double>{1.0, 1.0}));
  EXPECT_EQ(found.residual, 1.0);
}

}  // namespace
}  // namespace sparing
