#pragma once
// The multiple-choice knapsack: one option per site, the least total damage whose cost stays within a budget.

#include <cstdint>
#include <optional>
#include <vector>

namespace sparing {

struct KnapsackOption {
  std::uint64_t cost = 0;
  double damage = 0;  ///< finite; need not fall as cost rises
};

struct KnapsackAnswer {
  std::vector<std::size_t> choice;  ///< option of each site
  std::uint64_t cost = 0;
  double damage = 0;
  bool exact = true;  ///< false where the frontier was thinned to max_states
};

/// Dynamic program over the frontier of undominated (cost, damage) sums, site by site. Exact while the frontier stays
/// within max_states, and a site's options times the frontier within four times that; beyond, states are thinned evenly
/// over cost, each keeping its true cost, so the answer never exceeds the budget by a byte. Ties go to the cheaper,
/// then to the earlier option. Empty where nothing fits or a site has no option.
std::optional<KnapsackAnswer> solve_knapsack(const std::vector<std::vector<KnapsackOption>>& sites,
                                             std::uint64_t budget, std::size_t max_states = 200'000);

/// The cheapest total there is: what a budget that cannot be met is told.
std::uint64_t smallest_cost(const std::vector<std::vector<KnapsackOption>>& sites);

}  // namespace sparing
