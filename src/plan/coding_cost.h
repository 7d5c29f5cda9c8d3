#pragma once
// How long the coding of a plan takes, and how much memory, from the pace at which drafts were coded; and what it
// leaves of the drafts' damage.

#include "plan/sites.h"

namespace sparing {

/// Seconds; 0 where the plan calibrates nothing.
double coding_seconds(const Plan& plan, const std::vector<BoundSite>& sites, double seconds_per_token,
                      double seconds_per_unit);

/// Peak bytes resident: program and libtorch, the largest block with its statistics, activations of all tokens (within
/// max_ram, if that is not 0).
std::uint64_t coding_peak(const Plan& plan, const std::vector<BoundSite>& sites, const ModelConfig& config,
                          std::uint64_t max_ram);

/// Of the damage of drafts, what is left once sites are corrected: the less, the more of it so much text bears out.
double finished_share(const Plan& plan, const std::vector<BoundSite>& sites);

}  // namespace sparing
