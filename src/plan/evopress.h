#pragma once
// EvoPress (arXiv:2410.14649): a (1 + lambda) search for a better assignment on true damage. Mutations raise one site's
// level and lower another's, so that the budget stays met; offspring are weeded out in stages on more and more text.

#include <cstdint>
#include <functional>
#include <vector>

#include "base/result.h"
#include "plan/knapsack.h"

namespace sparing {

struct SearchStage {
  std::int64_t windows = 0;   ///< of text that a candidate of this stage is measured on
  std::size_t survivors = 1;  ///< candidates that go on
};

struct SearchProblem {
  std::vector<std::vector<KnapsackOption>> sites;  ///< each by ascending cost: a site's levels
  std::uint64_t budget = 0;
  std::size_t offspring = 16;
  std::vector<SearchStage> stages;  ///< the parent takes part in the last
  std::int64_t generations = 0;
  std::uint64_t seed = 0;
  /// True damage on the first so many windows. The same choice may be asked for again.
  std::function<Result<double>(const std::vector<std::size_t>& choice, std::int64_t windows)> damage;
};

struct SearchAnswer {
  std::vector<std::size_t> choice;
  double damage = 0;          ///< on the last stage's windows
  double start = 0;           ///< of the assignment it started from, on the same
  std::int64_t improved = 0;  ///< generations that found something better
};

/// From an assignment within the budget. Deterministic by seed. Errors: those of damage(), no stages.
Result<SearchAnswer> evopress(const SearchProblem& problem, std::vector<std::size_t> start);

}  // namespace sparing
