#include "plan/knapsack.h"

#include <gtest/gtest.h>

#include <limits>

#include <cmath>

#include "base/rng.h"

namespace sparing {
namespace {

using Table = std::vector<std::vector<KnapsackOption>>;

struct Best {
  double damage = std::numeric_limits<double>::infinity();
  std::uint64_t cost = 0;
};

void brute_force(const Table& sites, std::size_t s, std::uint64_t cost, double damage, std::uint64_t budget,
                 Best& best) {
  if (cost > budget) return;
  if (s == sites.size()) {
    if (damage < best.damage) best = {damage, cost};
    return;
  }
  for (const KnapsackOption& o : sites[s]) brute_force(sites, s + 1, cost + o.cost, damage + o.damage, budget, best);
}

Table random_table(Rng& rng, std::size_t sites, std::size_t options) {
  Table table(sites);
  for (auto& site : table) {
    for (std::size_t o = 0; o < options; ++o) site.push_back({1 + rng.below(40), rng.uniform()});
  }
  return table;
}

TEST(Knapsack, AgreesWithBruteForceOnRandomNonMonotoneTables) {
  Rng rng(11);
  int feasible = 0;
  for (int round = 0; round < 200; ++round) {
    const Table table = random_table(rng, 2 + rng.below(5), 1 + rng.below(5));
    const std::uint64_t least = smallest_cost(table), budget = least + rng.below(60);
    Best best;
    brute_force(table, 0, 0, 0.0, budget, best);
    const auto answer = solve_knapsack(table, budget);
    ASSERT_TRUE(answer.has_value());
    EXPECT_TRUE(answer->exact);
    EXPECT_NEAR(answer->damage, best.damage, 1e-12);
    EXPECT_LE(answer->cost, budget);
    std::uint64_t cost = 0;
    double damage = 0;
    for (std::size_t s = 0; s < table.size(); ++s) {
      cost += table[s][answer->choice[s]].cost;
      damage += table[s][answer->choice[s]].damage;
    }
    EXPECT_EQ(cost, answer->cost);
    EXPECT_NEAR(damage, answer->damage, 1e-12);
    ++feasible;
  }
  EXPECT_EQ(feasible, 200);
}

TEST(Knapsack, OneByteShortIsInfeasible) {
  const Table table = {{{10, 1.0}, {7, 2.0}}, {{5, 0.5}, {6, 0.1}}};
  EXPECT_EQ(smallest_cost(table), 12u);
  EXPECT_FALSE(solve_knapsack(table, 11).has_value());
  const auto answer = solve_knapsack(table, 12);
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->choice, (std::vector<std::size_t>{1, 0}));
  EXPECT_FALSE(solve_knapsack({{{1, 0.0}}, {}}, 100).has_value());
}

TEST(Knapsack, HugeCostsDoNotWrap) {
  constexpr std::uint64_t huge = std::numeric_limits<std::uint64_t>::max() - 1;
  const Table table = {{{huge, 0.0}, {1, 1.0}}, {{huge, 0.0}, {1, 1.0}}};
  const auto answer = solve_knapsack(table, huge);
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ(answer->choice, (std::vector<std::size_t>{1, 1}));
}

TEST(Knapsack, AThinnedFrontierStaysWithinBudgetAndNearTheOptimum) {
  Rng rng(5);
  Table table(60);
  for (auto& site : table) {
    // As bit widths do: damage falls fourfold for each step of cost.
    const std::uint64_t size = 1000 + rng.below(100'000);
    const double scale = 0.1 + rng.uniform();
    for (int bits = 2; bits <= 8; ++bits)
      site.push_back({size * static_cast<std::uint64_t>(bits), scale * std::pow(0.25, bits)});
  }
  const std::uint64_t budget = smallest_cost(table) * 2;
  const auto fine = solve_knapsack(table, budget, 50'000), coarse = solve_knapsack(table, budget, 500);
  ASSERT_TRUE(fine && coarse);
  EXPECT_FALSE(coarse->exact);
  EXPECT_LE(coarse->cost, budget);
  EXPECT_LE(fine->damage, coarse->damage * (1 + 1e-12));
  EXPECT_LT(coarse->damage, fine->damage * 1.05);
}

}  // namespace
}  // namespace sparing
