#include "plan/milp.h"

#include <gtest/gtest.h>

#include <limits>

#include "base/rng.h"
#include "plan/knapsack.h"

// CBC's own libraries keep a little for the process's life.
extern "C" const char* __lsan_default_suppressions();  // NOLINT: the sanitizer's name
extern "C" const char* __lsan_default_suppressions() {
  return "leak:libCoinUtils\nleak:libCbc\nleak:libClp\n";
}

namespace sparing {
namespace {

struct Problem {
  std::vector<std::vector<MilpOption>> sites;
  std::vector<double> budgets;
};

/// Bytes and time that do not rise together, damages that need not fall.
Problem random_problem(std::uint64_t seed) {
  Rng rng(seed);
  Problem p;
  p.budgets = {0, 0};
  for (int s = 0; s < 6; ++s) {
    auto& options = p.sites.emplace_back();
    for (int o = 0; o < 4; ++o) {
      options.push_back(
          {{static_cast<double>(10 + rng.below(90)), static_cast<double>(5 + rng.below(40))}, rng.uniform()});
    }
    p.budgets[0] += 45;
    p.budgets[1] += 22;
  }
  return p;
}

double brute_force(const Problem& p) {
  double best = std::numeric_limits<double>::infinity();
  std::vector<std::size_t> choice(p.sites.size());
  for (;;) {
    double bytes = 0, time = 0, damage = 0;
    for (std::size_t s = 0; s < choice.size(); ++s) {
      bytes += p.sites[s][choice[s]].costs[0];
      time += p.sites[s][choice[s]].costs[1];
      damage += p.sites[s][choice[s]].damage;
    }
    if (bytes <= p.budgets[0] && time <= p.budgets[1]) best = std::min(best, damage);
    std::size_t s = 0;
    while (s < choice.size() && ++choice[s] == p.sites[s].size()) choice[s++] = 0;
    if (s == choice.size()) return best;
  }
}

TEST(Milp, AgreesWithBruteForceUnderTwoBudgets) {
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    const Problem p = random_problem(seed);
    const double best = brute_force(p);
    const auto answer = solve_milp(p.sites, p.budgets);
    ASSERT_TRUE(answer.ok()) << answer.error().message;
    ASSERT_EQ(answer->has_value(), best < std::numeric_limits<double>::infinity()) << seed;
    if (!*answer) continue;
    EXPECT_NEAR((*answer)->damage, best, 1e-4 * best + 1e-12) << seed;
    EXPECT_LE((*answer)->costs[0], p.budgets[0]);
    EXPECT_LE((*answer)->costs[1], p.budgets[1]);
  }
}

TEST(Milp, AgreesWithTheKnapsackUnderOneBudget) {
  Rng rng(9);
  std::vector<std::vector<MilpOption>> sites;
  std::vector<std::vector<KnapsackOption>> same;
  for (int s = 0; s < 40; ++s) {
    sites.emplace_back();
    same.emplace_back();
    for (int o = 0; o < 5; ++o) {
      const std::uint64_t cost = 1000 + rng.below(9000);
      const double damage = rng.uniform();
      sites.back().push_back({{static_cast<double>(cost)}, damage});
      same.back().push_back({cost, damage});
    }
  }
  const auto exact = solve_knapsack(same, 160'000);
  const auto answer = solve_milp(sites, {160'000});
  ASSERT_TRUE(exact && answer.ok() && *answer);
  EXPECT_NEAR((*answer)->damage, exact->damage, 2e-4 * exact->damage);
}

TEST(Milp, SaysWhereNothingFits) {
  const std::vector<std::vector<MilpOption>> sites = {{{{10, 1}, 0.5}, {{1, 10}, 0.5}}};
  const auto answer = solve_milp(sites, {5, 5});
  ASSERT_TRUE(answer.ok());
  EXPECT_FALSE(answer->has_value());
  EXPECT_FALSE(solve_milp(sites, {5, 0})->has_value());
}

TEST(Milp, WritesNothingToStandardOutput) {
  ::testing::internal::CaptureStdout();
  const Problem p = random_problem(1);
  EXPECT_TRUE(solve_milp(p.sites, p.budgets).ok());
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "");
}

}  // namespace
}  // namespace sparing
