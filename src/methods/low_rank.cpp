#include "methods/low_rank.h"

#include <algorithm>
#include <cmath>

#include "lab/math/low_rank.h"
#include "methods/second_order.h"
#include "methods/site.h"

namespace sparing {

std::vector<ParamSpec> factor_params(std::string_view factors_default) {
  std::vector<ParamSpec> params = {
      {.name = "factors",
       .type = ParamSpec::Type::choice,
       .default_value = 0,
       .min = 0,
       .max = 2,
       .choices = {"int4", "int8", "f16"},
       .help = "how the two factors are stored: in 4 or 8 bits under f16 scales, or in f16"},
      {.name = "factor_group",
       .type = ParamSpec::Type::integer,
       .default_value = 64,
       .min = 16,
       .max = 65536,
       .choices = {},
       .help = "values of a component that share a scale: a multiple of 16"}};
  for (std::size_t i = 0; i < params[0].choices.size(); ++i)
    if (params[0].choices[i] == factors_default) params[0].default_value = static_cast<double>(i);
  return params;
}

Result<LowRankSpec> low_rank_spec(std::string_view method, const Params& params, std::int64_t rank, std::int64_t rows,
                                  std::int64_t cols) {
  const auto refuse = [&](const std::string& what) { return usage_error("[" + std::string(method) + "] " + what); };
  if (rank > std::min(rows, cols))
    return refuse("rank=" + std::to_string(rank) + " on a matrix of " + std::to_string(rows) + " x " +
                  std::to_string(cols) + ": at most " + std::to_string(std::min(rows, cols)));
  const std::int64_t group = params.integer("factor_group");
  if (group % 16 != 0) return refuse("factor_group=" + std::to_string(group) + ": must be a multiple of 16");
  FactorSpec factor{16, 0};
  if (params.choice("factors") != "f16")
    factor = {params.choice("factors") == "int4" ? 4 : 8, static_cast<std::int32_t>(group)};
  return LowRankSpec{static_cast<std::int32_t>(rank), factor, factor};
}

std::vector<ParamSpec> factors_only_params() {
  std::vector<ParamSpec> params = {
      {.name = "rank",
       .type = ParamSpec::Type::integer,
       .default_value = 0,
       .min = 0,
       .max = 65536,
       .choices = {},
       .help = "components kept; 0: as many as `share` allows"},
      {.name = "share",
       .type = ParamSpec::Type::real,
       .default_value = 0.5,
       .min = 0.01,
       .max = 2,
       .choices = {},
       .help = "numbers in both factors, as a share of the matrix's own (where rank is 0)"}};
  const std::vector<ParamSpec> factors = factor_params("int8");
  params.insert(params.end(), factors.begin(), factors.end());
  params.insert(params.end(), {damping_param(), correct_param(0)});
  return params;
}

namespace {

Result<LowRankSpec> factors_only_spec(std::string_view method, const Params& params, std::int64_t rows,
                                      std::int64_t cols) {
  std::int64_t rank = params.integer("rank");
  if (rank == 0) {
    const double fitting =
        params.real("share") * static_cast<double>(rows) * static_cast<double>(cols) / static_cast<double>(rows + cols);
    rank = std::clamp<std::int64_t>(static_cast<std::int64_t>(std::floor(fitting)), 1, std::min(rows, cols));
  }
  return low_rank_spec(method, params, rank, rows, cols);
}

}  // namespace

Result<std::vector<CodecSpec>> factors_only_codings(std::string_view method, const Params& params, std::int64_t rows,
                                                    std::int64_t cols) {
  SPARING_TRY(const LowRankSpec spec, factors_only_spec(method, params, rows, cols));
  return std::vector<CodecSpec>{spec};
}

Result<SiteResult> code_factors_only(std::string_view method, const SiteProblem& problem, const Params& params) {
  const std::int64_t rows = problem.rows, cols = problem.cols;
  SPARING_TRY(const LowRankSpec spec, factors_only_spec(method, params, rows, cols));
  ThreadPool pool(problem.threads);
  const double damping = params.real("damping");
  SPARING_TRY(const SharedMetric metric, metric_at(method, problem, {.damping = damping}, pool));
  const std::vector<float> target = corrected_weight(problem, *metric, params.real("correct"), pool);
  SPARING_TRY(const math::LowRank factors, math::best_low_rank(target, rows, cols, metric->h, spec.rank, pool));
  SPARING_TRY(Term term, math::code_low_rank(spec, target, rows, *metric, factors, pool));
  SiteResult result;
  result.weight = {.rows = rows, .cols = cols, .input = {}, .terms = {std::move(term)}};
  result.report = report_on_target(result.weight, problem, target, *metric, pool);
  result.report.note = second_order_note(*metric, damping, 0);
  return result;
}

SiteReport report_on_target(const CodedWeight& weight, const SiteProblem& problem, std::span<const float> target,
                            const math::Metric& metric, ThreadPool& pool) {
  std::vector<float> decoded(problem.weight.size());
  decode_effective_rows(weight, 0, weight.rows, decoded.data());
  SiteReport report;
  report.weight_error = relative_error(problem.weight, decoded);
  report.output_error = math::relative_output_error(target, decoded, weight.rows, weight.cols, metric.h, pool);
  return report;
}

}  // namespace sparing
