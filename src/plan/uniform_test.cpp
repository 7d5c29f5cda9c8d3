#include "plan/uniform.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/rng.h"

namespace sparing {
namespace {

/// A model of planted sizes and damages: bytes grow with bits and with smaller groups, damage falls fourfold a bit.
struct Planted {
  std::uint64_t linear_weights = 100'000, embedding_weights = 30'000, fixed = 5'000;
  double linear_scale = 40, embedding_scale = 10, interaction = 0;

  static std::uint64_t size(std::uint64_t weights, const Rate& r) {
    return weights * static_cast<std::uint64_t>(r.bits) / 8 + weights / static_cast<std::uint64_t>(r.group) * 2;
  }
  static double damage(double scale, const Rate& r) {
    return scale * std::pow(0.25, r.bits) * (1 + 0.1 * std::log2(r.group));
  }

  UniformProblem problem(std::uint64_t budget) const {
    UniformProblem p;
    for (int bits = 2; bits <= 8; ++bits) {
      for (int group : {32, 64, 128}) {
        p.linear.push_back({bits, group});
        p.embedding.push_back({bits, group});
      }
    }
    p.budget = budget;
    p.bytes = [this, rates = p.linear](RatePair pair) -> Result<std::uint64_t> {
      return fixed + size(linear_weights, rates[pair.linear]) + size(embedding_weights, rates[pair.embedding]);
    };
    p.damage = [this, rates = p.linear](std::optional<std::size_t> l, std::optional<std::size_t> e) -> Result<double> {
      const double a = l ? damage(linear_scale, rates[*l]) : 0, b = e ? damage(embedding_scale, rates[*e]) : 0;
      return a + b + interaction * std::sqrt(a * b);
    };
    return p;
  }
};

double brute_force(const UniformProblem& p) {
  double best = std::numeric_limits<double>::infinity();
  for (std::size_t l = 0; l < p.linear.size(); ++l) {
    for (std::size_t e = 0; e < p.embedding.size(); ++e) {
      if (*p.bytes({l, e}) <= p.budget) best = std::min(best, *p.damage(l, e));
    }
  }
  return best;
}

TEST(Uniform, FindsTheBestPairOfEveryBudgetWithFewMeasurements) {
  Rng rng(1);
  for (int round = 0; round < 60; ++round) {
    Planted planted;
    planted.embedding_weights = 2'000 + rng.below(150'000);
    planted.linear_scale = std::exp(4 * rng.uniform());
    planted.embedding_scale = std::exp(4 * rng.uniform());
    const UniformProblem p = planted.problem(50'000 + rng.below(150'000));
    const double best = brute_force(p);
    const auto answer = solve_uniform(p);
    if (std::isinf(best)) {
      EXPECT_FALSE(answer.ok());
      continue;
    }
    ASSERT_TRUE(answer.ok()) << answer.error().message;
    EXPECT_DOUBLE_EQ(answer->damage, best);
    EXPECT_LE(answer->bytes, p.budget);
    EXPECT_EQ(answer->bytes, *p.bytes(answer->pair));
    EXPECT_LE(answer->measurements, 25u) << "of 441 pairs";
  }
}

TEST(Uniform, JointMeasurementDecidesAmongTheFinalists) {
  Planted planted;
  planted.interaction = 0.5;
  const UniformProblem p = planted.problem(80'000);
  const auto answer = solve_uniform(p);
  ASSERT_TRUE(answer.ok());
  EXPECT_NEAR(answer->damage, brute_force(p), 0.1 * brute_force(p));
}

TEST(Uniform, TheSmallestReachableSizeIsReachableAndOneByteLessIsNot) {
  const Planted planted;
  const auto refused = solve_uniform(planted.problem(0));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().kind, ErrorKind::resource);
  const std::uint64_t smallest = 5'000 + Planted::size(100'000, {2, 128}) + Planted::size(30'000, {2, 128});
  EXPECT_NE(refused.error().message.find(std::to_string(smallest) + " bytes"), std::string::npos)
      << refused.error().message;
  EXPECT_FALSE(solve_uniform(planted.problem(smallest - 1)).ok());
  const auto answer = solve_uniform(planted.problem(smallest));
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->bytes, smallest);
}

TEST(Uniform, AFailedMeasurementIsReported) {
  const Planted planted;
  UniformProblem p = planted.problem(100'000);
  p.damage = [](auto, auto) -> Result<double> { return resource_error("[eval] no memory"); };
  const auto answer = solve_uniform(p);
  ASSERT_FALSE(answer.ok());
  EXPECT_EQ(answer.error().message, "[eval] no memory");
}

}  // namespace
}  // namespace sparing
