#pragma once
// A plan as people read it before it is carried out.

#include <string>
#include <vector>

#include "plan/execute.h"
#include "plan/sites.h"

namespace sparing::cli {

/// Site by site, then totals, budgets, the text to calibrate on, and what is expected of it. `source`: bytes of the
/// model it is made from.
std::string plan_table(const Plan& plan, const std::vector<BoundSite>& sites, std::uint64_t source);

/// What to expect of a plan that a solver made, how sure that is, and whence it is known; empty for others.
std::string forecast_text(const Plan& plan);

/// The same beside what it came to; empty for plans that no solver made.
std::string outcome_text(const Plan& plan, const ExecuteSummary& summary);

}  // namespace sparing::cli
