#pragma once
// The cheap estimate of damage: an option's output errors in the metric of the site's inputs, weighted by how much the
// predictions depend on each output, on a sample of the site's rows.

#include <span>
#include <vector>

#include "lab/sensitivity.h"
#include "plan/options.h"

namespace sparing {

/// Parameters for a draft: as asked, but without the polish and the second pass that only the final coding pays for.
ParamList draft_params(const Setting& setting);

/// What a site's rows are judged by. All spans outlive the call.
struct SiteEvidence {
  const SiteInfo* site = nullptr;
  std::span<const float> weight = {};       ///< [rows, cols]
  const Statistics* statistics = nullptr;   ///< null for an embedding that is no head
  std::span<const float> outputs = {};      ///< sensitivity [rows]; empty for such an embedding
  std::span<const float> lookups = {};      ///< an embedding's: sensitivity [cols] of what is looked up; else empty
  std::span<const float> frequencies = {};  ///< [rows] of an embedding in the text; else empty
};

/// KL a token that each option is expected to cost alone, to second order: 1/2 sum_r s_r e_r, e_r the mean squared
/// error of output r. Rows: the heaviest and a seeded sample of the rest, scaled up by their share of signal. keep
/// costs nothing. Errors: the methods'.
Result<std::vector<double>> estimate_damage(const SiteEvidence& evidence, const std::vector<SiteOption>& options,
                                            std::uint64_t seed, int threads);

/// KL that a whole coded weight is expected to cost, all rows counted.
double weight_damage(const SiteEvidence& evidence, const CodedWeight& weight, int threads);

/// Which options are worth a closer look, for sites of one shape: those that none beats in bytes and, by plain rounding
/// of a few rows of these weights, in error, and that lie hardly above the line between two others. Options of methods
/// that are not integer grids always are.
Result<std::vector<bool>> worthwhile(const SiteInfo& site, const std::vector<std::vector<float>>& weights,
                                     const std::vector<SiteOption>& options, std::uint64_t seed, int threads);

}  // namespace sparing
