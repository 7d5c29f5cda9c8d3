#pragma once
// `--fit weights=72MiB`: for every site the option, of all that there are, with which the whole model does the least
// damage within the budget.
//
// Damage is measured at three depths, each checked on the next: an estimate for every option from one backward and one
// forward pass of the original (plan/survey.h); whole assignments of coded candidates near the best one, which correct
// the estimate class by class (plan/factors.h); a search on true damage (plan/evopress.h). Allocation is exact
// (plan/knapsack.h). Everything measured is noted in the journal: a killed run goes on to the same plan.

#include <optional>
#include <string>
#include <vector>

#include "plan/assemble.h"
#include "plan/calibration.h"
#include "plan/compose.h"
#include "plan/execute.h"

namespace sparing {

struct FitRequest {
  std::uint64_t budget = 0;  ///< bytes of the finished directory
  /// What the user pinned; empty or nothing: free.
  std::vector<std::string> methods, embed_methods;
  std::optional<std::int32_t> bits, group, embed_bits, embed_group;
  /// Further settings of the linear weights (--param), overrides, calibration and seed. Its methods, bits and groups
  /// are the solver's to fill in; overrides pin or limit (plan/options.h).
  ComposeRequest base;
};

/// "weights=72MiB". Errors: resources that are not known yet (by name), a budget of zero, two of the same.
Result<std::uint64_t> parse_fit(const std::string& text);

/// Measures and solves. What was found is noted in the journal, so that a restarted run does not measure again. The plan
/// comes back bound and predicted, its budget filled in.
Result<Plan> fit(const FitRequest& request, const Assembler& assembler, Journal& journal,
                 const ExecuteOptions& options);

}  // namespace sparing
