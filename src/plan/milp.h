#pragma once
// One option per site under several budgets at once: a mixed-integer program, solved by CBC.

#include <cstdint>
#include <optional>
#include <vector>

#include "base/result.h"

namespace sparing {

struct MilpOption {
  std::vector<double> costs;  ///< by resource
  double damage = 0;
};

struct MilpAnswer {
  std::vector<std::size_t> choice;
  std::vector<double> costs;  ///< by resource
  double damage = 0;
  double gap = 0;  ///< how much less damage there may be at most, as a share; 0: proven best
};

/// The least total damage whose costs stay within every budget (checked in exact sums afterwards). One thread, limits
/// in nodes and gap and not in time, so the same answer everywhere. Nothing where no choice fits. Errors: the solver
/// gives up.
Result<std::optional<MilpAnswer>> solve_milp(const std::vector<std::vector<MilpOption>>& sites,
                                             const std::vector<double>& budgets);

}  // namespace sparing
