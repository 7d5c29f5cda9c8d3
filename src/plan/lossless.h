#pragma once
// Weights that lie on a grid already, recoded on it: the one plan that needs no measuring, and options of single sites.

#include <optional>

#include "plan/fit.h"

namespace sparing {

/// Where some method finds the grid of every site and the directory has at most `most` bytes: nothing is lost, so
/// nothing can be better. Nothing where that is not so, or where the request limits methods or settings.
Result<std::optional<Plan>> lossless_plan(const FitRequest& request, std::uint64_t most, const Assembler& assembler);

/// Options that hold a weight which lies on a grid as it is, or (coded scales) nearly: what loses nothing at some sites
/// leaves bytes to the others. Only those that have been tried and take fewer bytes than the source does.
Result<std::vector<SiteOption>> recoded_options(const SiteInfo& site, const Checkpoint& checkpoint, int threads);

}  // namespace sparing
