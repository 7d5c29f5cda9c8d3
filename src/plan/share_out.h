#pragma once
// What a method shares out over all sites of the model at once (Method::sharing), settled when the plan is made: so the
// plan says what each site got, and its bytes are known.

#include "plan/assemble.h"
#include "plan/execute.h"

namespace sparing {

/// How many of its rows each site gets when the `all` of greatest salience do, over all sites; of equals the first.
std::vector<std::int64_t> shared_counts(const std::vector<std::vector<double>>& salience, std::int64_t all);

/// Fills in the counts of sites that ask for their share: of all their rows together, those with the greatest salience
/// as the original model has them. Nothing is measured where no site asks. `journal` may be null (sampled text is noted
/// there). The plan is predicted anew by whoever needs that. Errors: a program without the lab, the methods' own.
Status share_out(Plan& plan, const Assembler& assembler, Journal* journal, const ExecuteOptions& options);

}  // namespace sparing
