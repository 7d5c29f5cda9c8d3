#pragma once
// The search on true damage from what the model of damage found: EvoPress over the options of each site that none
// dominates.

#include <functional>

#include "plan/allocate.h"

namespace sparing {

struct Refinement {
  const PriceTable& table;
  std::uint64_t budget = 0;  ///< bytes of all sites
  std::int64_t windows = 0;  ///< that there are to measure on
  std::int64_t generations = 0;
  std::uint64_t seed = 0;
  /// Whether a choice is within every budget, metadata included.
  std::function<Result<bool>(const Choice& choice)> allowed;
  /// Measured damage on the first so many windows.
  std::function<Result<double>(const Choice& choice, std::int64_t windows)> damage;
};

/// A choice at least as good as `start`. Errors: those of allowed() and damage().
Result<Choice> refine(const Refinement& refinement, const Choice& start);

}  // namespace sparing
