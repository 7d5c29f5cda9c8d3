#pragma once
// `--fit weights=72MiB,speed=60tok/s`: for every site the option, of all that there are, with which the whole model
// does the least damage within the budgets.
//
// Damage is measured at three depths, each checked on the next: an estimate for every option from one backward and one
// forward pass of the original (plan/survey.h); whole assignments of coded candidates near the best one, which correct
// the estimate class by class (plan/factors.h); a search on true damage (plan/evopress.h). Allocation is a knapsack
// (plan/knapsack.h), or an integer program where speed binds too (plan/milp.h). Everything measured is noted in the
// journal: a killed run goes on to the same plan.

#include <optional>
#include <string>
#include <vector>

#include "plan/assemble.h"
#include "plan/budgets.h"
#include "plan/calibration.h"
#include "plan/compose.h"
#include "plan/execute.h"
#include "plan/survey.h"

namespace sparing {

struct FitRequest {
  FitBudgets budgets;
  /// What the user pinned; empty or nothing: free.
  std::vector<std::string> methods, embed_methods;
  std::optional<std::int32_t> bits, group, embed_bits, embed_group;
  std::int64_t generations = 0;  ///< of the search on true damage
  /// By which method channels, heads and layers may be taken out where that is worth it; nothing: none are.
  std::optional<std::string> structure_method;
  /// Further settings of the linear weights (--param), overrides, calibration and seed. Its methods, bits and groups
  /// are the solver's to fill in; overrides pin or limit (plan/options.h).
  ComposeRequest base;
};

/// Every site with the options that the request allows there. Errors: an override that matches no site, and those of
/// site_options().
Result<std::vector<SurveyedSite>> list_options(const FitRequest& request, const Checkpoint& checkpoint, int threads);

/// What was chosen of each site, as a plan that nothing is predicted of yet.
Plan plan_with(const FitRequest& request, const Assembler& assembler, const std::vector<SurveyedSite>& sites,
               const std::vector<SiteOption>& chosen);

/// Everything that decides the answer, as a key for the journal's notes.
std::string fit_key(const FitRequest& request, const std::string& model_hash);

/// Measures and solves. Where structure may go too, the allocation without it sets the price of a byte; what costs less
/// than its bytes are worth is taken out, the rest is solved again, and the better plan by measured drafts is returned.
/// `assembler` is of the whole model, also where the request says what is taken out.
/// What was found is noted in the journal, so that a restarted run does not measure again. The
/// plan comes back bound and predicted, its budgets and forecast filled in. Errors: budgets that cannot be met (the
/// message has what comes nearest), a program without the lab.
Result<Plan> fit(const FitRequest& request, const Assembler& assembler, Journal& journal,
                 const ExecuteOptions& options);

}  // namespace sparing
