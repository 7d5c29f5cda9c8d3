#include "plan/evopress.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace sparing {
namespace {

/// Levels of cost 1, 2, 3 whose damages halve, with an interaction that no additive model sees.
struct Planted {
  SearchProblem problem;
  std::size_t measured = 0;

  explicit Planted(std::size_t sites) {
    Rng rng(3);
    std::vector<double> weight;
    for (std::size_t s = 0; s < sites; ++s) {
      weight.push_back(0.1 + rng.uniform());
      problem.sites.push_back({{1, 0}, {2, 0}, {3, 0}});
    }
    problem.budget = 2 * sites;
    problem.offspring = 8;
    problem.stages = {{1, 4}, {2, 2}, {4, 1}};
    problem.generations = 60;
    problem.damage = [this, weight](const std::vector<std::size_t>& choice, std::int64_t) -> Result<double> {
      ++measured;
      double sum = 0;
      for (std::size_t s = 0; s < choice.size(); ++s) {
        sum += weight[s] * static_cast<double>(1 << (2 - choice[s]));
        if (s > 0 && choice[s] == 0 && choice[s - 1] == 0) sum += 1.5;  // neighbours must not both be poor
      }
      return sum;
    };
  }
  std::uint64_t cost(const std::vector<std::size_t>& choice) const {
    std::uint64_t sum = 0;
    for (std::size_t s = 0; s < choice.size(); ++s) sum += problem.sites[s][choice[s]].cost;
    return sum;
  }
  double best() const {
    std::vector<std::size_t> choice(problem.sites.size());
    double best = 1e9;
    for (;;) {
      if (cost(choice) <= problem.budget) best = std::min(best, problem.damage(choice, 4).value());
      std::size_t s = 0;
      while (s < choice.size() && ++choice[s] == problem.sites[s].size()) choice[s++] = 0;
      if (s == choice.size()) return best;
    }
  }
};

TEST(EvoPress, FindsTheBestOfAllWhereBruteForceCanCheck) {
  Planted planted(7);
  const auto answer = evopress(planted.problem, std::vector<std::size_t>(7, 1));
  ASSERT_TRUE(answer.ok());
  EXPECT_LE(planted.cost(answer->choice), planted.problem.budget);
  EXPECT_DOUBLE_EQ(answer->damage, planted.best());
  EXPECT_LT(answer->damage, answer->start);
  EXPECT_GT(answer->improved, 0);
}

TEST(EvoPress, SameSeedSameAnswerAndNeverWorseThanTheStart) {
  Planted planted(12);
  planted.problem.generations = 5;
  const std::vector<std::size_t> start(12, 1);
  const auto a = evopress(planted.problem, start), b = evopress(planted.problem, start);
  EXPECT_EQ(a->choice, b->choice);
  EXPECT_LE(a->damage, a->start);
}

TEST(EvoPress, NothingToSwitchKeepsTheStart) {
  Planted planted(2);
  for (auto& levels : planted.problem.sites) levels.resize(1);
  const auto answer = evopress(planted.problem, {0, 0});
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->choice, (std::vector<std::size_t>{0, 0}));
  EXPECT_EQ(planted.measured, 1u);
}

TEST(EvoPress, WhatMeasuringReportsIsPassedOn) {
  Planted planted(3);
  planted.problem.damage = [](const std::vector<std::size_t>&, std::int64_t) -> Result<double> {
    return resource_error("[test] no memory");
  };
  EXPECT_FALSE(evopress(planted.problem, {1, 1, 1}).ok());
}

}  // namespace
}  // namespace sparing
