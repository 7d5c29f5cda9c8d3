#pragma once
// What the methods that emit low-rank terms have in common: the parameters of the factors, and the report on the whole.

#include "lab/math/obq.h"
#include "methods/method.h"

namespace sparing {

/// factors, factor_group.
std::vector<ParamSpec> factor_params(std::string_view factors_default);
/// The term that these parameters ask for. Errors name the parameter: a rank above the matrix's own, a group that is no
/// multiple of 16.
Result<LowRankSpec> low_rank_spec(std::string_view method, const Params& params, std::int64_t rank, std::int64_t rows,
                                  std::int64_t cols);
/// The parameters of the methods that store two factors and nothing else: rank, share, factors, factor_group, damping,
/// correct.
std::vector<ParamSpec> factors_only_params();
Result<std::vector<CodecSpec>> factors_only_codings(std::string_view method, const Params& params, std::int64_t rows,
                                                    std::int64_t cols);
/// W -> U (U' W), U the leading principal components of the outputs W x.
Result<SiteResult> code_factors_only(std::string_view method, const SiteProblem& problem, const Params& params);

/// weight_error of what is stored, and output_error against what was coded, in its metric: the weight, or the weight
/// corrected.
SiteReport report_on_target(const CodedWeight& weight, const SiteProblem& problem, std::span<const float> target,
                            const math::Metric& metric, ThreadPool& pool);

}  // namespace sparing
