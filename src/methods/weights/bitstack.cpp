// BitStack (arXiv:2410.23918): a weight becomes a stack of blocks, each a sign a weight times magnitudes of low rank,
// each the best for what the blocks below have left. Any number of blocks from the bottom is a model.

#include <cmath>

#include "codecs/sign_lowrank.h"
#include "lab/math/low_rank.h"
#include "methods/low_rank.h"
#include "methods/second_order.h"

namespace sparing {
namespace {

Result<std::vector<CodecSpec>> codings(const Params& params, std::int64_t rows, std::int64_t cols) {
  SPARING_TRY(const LowRankSpec magnitude, low_rank_spec("bitstack", params, params.integer("rank"), rows, cols));
  return std::vector<CodecSpec>(static_cast<std::size_t>(params.integer("blocks")), SignLowRankSpec{magnitude});
}

/// Square roots of the inputs' second moments; an input without signal counts as the least that has any.
std::vector<float> input_sizes(const SiteProblem& problem, bool scaled) {
  const auto n = static_cast<std::size_t>(problem.cols);
  std::vector<float> sizes(n, 1.0f);
  if (!scaled) return sizes;
  float least = INFINITY;
  for (std::size_t j = 0; j < n; ++j) {
    sizes[j] = std::sqrt(problem.statistics->second_moment[j * (n + 1)]);
    if (sizes[j] > 0) least = std::min(least, sizes[j]);
  }
  for (float& s : sizes)
    if (!(s > 0)) s = std::isfinite(least) ? least : 1.0f;
  return sizes;
}

Result<SiteResult> apply(const SiteProblem& problem, const Params& params) {
  const std::int64_t rows = problem.rows, cols = problem.cols, rank = params.integer("rank");
  SPARING_TRY(const LowRankSpec magnitude, low_rank_spec("bitstack", params, rank, rows, cols));
  ThreadPool pool(problem.threads);
  // Only its checks and its diagonal: columns are scaled, and then all alike.
  SPARING_TRY(const SharedMetric metric, metric_at("bitstack", problem, {}, pool));
  const std::vector<float> sizes = input_sizes(problem, params.flag("scale_inputs"));
  std::vector<float> left(problem.weight.begin(), problem.weight.end());
  std::vector<float> magnitudes(left.size()), values(left.size());
  std::vector<std::uint8_t> minus(left.size());
  SiteResult result;
  result.weight = {.rows = rows, .cols = cols, .input = {}, .terms = {}};
  for (std::int64_t block = 0; block < params.integer("blocks"); ++block) {
    for (std::size_t i = 0; i < left.size(); ++i) {
      magnitudes[i] = std::fabs(left[i]) * sizes[i % static_cast<std::size_t>(cols)];
      minus[i] = std::signbit(left[i]);
    }
    SPARING_TRY(const math::LowRank factors, math::best_low_rank(magnitudes, rows, cols, {}, rank, pool));
    SPARING_TRY(const math::CodedFactors coded,
                math::code_scaled_factors(magnitude, magnitudes, rows, sizes, factors, pool));
    SPARING_TRY(Term term, pack(SignLowRankSpec{magnitude}, rows, cols, minus, coded.inner, coded.outer));
    result.weight.terms.push_back(std::move(term));
    const CodedWeight alone{.rows = rows, .cols = cols, .input = {}, .terms = {result.weight.terms.back()}};
    decode_rows(alone, 0, rows, values.data());
    for (std::size_t i = 0; i < left.size(); ++i) left[i] -= values[i];
  }
  result.report = report_on_target(result.weight, problem, problem.weight, *metric, pool);
  return result;
}

std::vector<ParamSpec> params() {
  std::vector<ParamSpec> all = {{.name = "blocks",
                                 .type = ParamSpec::Type::integer,
                                 .default_value = 3,
                                 .min = 1,
                                 .max = 16,
                                 .choices = {},
                                 .help = "blocks in the stack, each about a bit a weight"},
                                {.name = "rank",
                                 .type = ParamSpec::Type::integer,
                                 .default_value = 4,
                                 .min = 1,
                                 .max = 64,
                                 .choices = {},
                                 .help = "components of a block's magnitudes"},
                                {.name = "scale_inputs",
                                 .type = ParamSpec::Type::boolean,
                                 .default_value = 1,
                                 .min = 0,
                                 .max = 1,
                                 .choices = {},
                                 .help = "weigh errors by the inputs' root mean squares"}};
  const std::vector<ParamSpec> factors = factor_params("int8");
  all.insert(all.end(), factors.begin(), factors.end());
  return all;
}

}  // namespace

extern const Method bitstack_method;
const Method bitstack_method{
    .name = "bitstack",
    .summary = "Stacks blocks of signs times low-rank magnitudes, each for what those below have left",
    .paper = "arXiv:2410.23918",
    .kind = MethodKind::weights,
    .traits =
        {.compressed = "weights", .deploy = "low-rank", .prune = "none", .peft = "none", .calibration = "activations"},
    .approximate = false,
    .params = params(),
    .codings = codings,
    .transform = nullptr,
    .corrects = nullptr,
    .apply = apply,
    .claims = {{.id = "bitstack-gptq-2bit",
                .text = "Two blocks of signs and magnitudes diverge less than error feedback at as many bytes",
                .ours = {.method = "bitstack", .params = "blocks=2 rank=8"},
                .baseline = {.method = "gptq", .params = "bits=2|3|4|5|6 group=16..128:4"}}},
};

}  // namespace sparing
