// EoRA (arXiv:2410.21271): what coding has cost a weight is made up for by a term of low rank, the best one in the
// metric of the inputs. The base is coded as gptq codes it. `rounds` is ours: the base is coded again for what the term
// leaves.

#include "lab/math/low_rank.h"
#include "methods/input_basis.h"
#include "methods/int_grid.h"
#include "methods/low_rank.h"
#include "methods/second_order.h"

namespace sparing {
namespace {

Result<std::vector<CodecSpec>> codings(const Params& params, std::int64_t rows, std::int64_t cols) {
  SPARING_TRY(const IntGroupSpec base, int_grid_spec("eora", params, cols));
  SPARING_TRY(const LowRankSpec term, low_rank_spec("eora", params, params.integer("rank"), rows, cols));
  return std::vector<CodecSpec>{base, term};
}

Result<SiteResult> apply(const SiteProblem& problem, const Params& params) {
  const std::int64_t rows = problem.rows, cols = problem.cols, rank = params.integer("rank");
  SPARING_TRY(const IntGroupSpec base, int_grid_spec("eora", params, cols));
  SPARING_TRY(const LowRankSpec spec, low_rank_spec("eora", params, rank, rows, cols));
  ThreadPool pool(problem.threads);
  const double damping = params.real("damping");
  SPARING_TRY(const SharedMetric metric, metric_at("eora", problem, {.damping = damping}, pool));
  const std::vector<float> target = corrected_weight(problem, *metric, params.real("correct"), pool);
  SiteResult best;
  std::vector<float> wanted = target;  // of the base
  for (std::int64_t round = 0; round <= params.integer("rounds"); ++round) {
    const SecondOrderCoding coding = code_second_order(
        wanted, rows, *metric, {.spec = base, .clip = int_grid_clip(params), .refine = params.integer("refine")}, pool);
    std::vector<float> left(target.size());
    for (std::size_t i = 0; i < left.size(); ++i) left[i] = target[i] - coding.decoded[i];
    SPARING_TRY(const math::LowRank factors, math::best_low_rank(left, rows, cols, metric->h, rank, pool));
    SPARING_TRY(Term term, math::code_low_rank(spec, left, rows, *metric, factors, pool));
    SPARING_TRY(Term base_term, coding.grid.base().pack());
    CodedWeight correction{.rows = rows, .cols = cols, .input = {}, .terms = {term}};
    std::vector<float> values(target.size());
    decode_rows(correction, 0, rows, values.data());
    for (std::size_t i = 0; i < wanted.size(); ++i) wanted[i] = target[i] - values[i];
    SiteResult result;
    result.weight = {.rows = rows, .cols = cols, .input = {}, .terms = {std::move(base_term), std::move(term)}};
    result.report = report_on_target(result.weight, problem, target, *metric, pool);
    result.report.note = second_order_note(*metric, damping, coding.rows_rounded);
    if (round > 0 && !(result.report.output_error < best.report.output_error)) break;
    best = std::move(result);
  }
  return best;
}

std::vector<ParamSpec> params() {
  std::vector<ParamSpec> rest = {{.name = "rank",
                                  .type = ParamSpec::Type::integer,
                                  .default_value = 8,
                                  .min = 1,
                                  .max = 4096,
                                  .choices = {},
                                  .help = "components of the low-rank term"}};
  const std::vector<ParamSpec> factors = factor_params("int4");
  rest.insert(rest.end(), factors.begin(), factors.end());
  rest.push_back({.name = "rounds",
                  .type = ParamSpec::Type::integer,
                  .default_value = 1,
                  .min = 0,
                  .max = 20,
                  .choices = {},
                  .help = "times that the base is coded again for what the term leaves; stops where the error rises"});
  rest.insert(rest.end(), {damping_param(), correct_param(0), refine_param(), guided_param(), basis_param()});
  return int_grid_params(std::move(rest), "mse");
}

}  // namespace

extern const Method eora_method;
const Method eora_method{
    .name = "eora",
    .summary = "Makes up for a coding's error by a low-rank term, fitted in the eigenspace of the inputs",
    .paper = "arXiv:2410.21271",
    .kind = MethodKind::weights,
    .traits = {.compressed = "weights",
               .deploy = "low-rank",
               .prune = "none",
               .peft = "reparameterised",
               .calibration = "activations"},
    .approximate = false,
    .params = params(),
    .codings = codings,
    .transform = basis_transform,
    .corrects = corrects,
    .apply = in_basis<apply>,
    .guides = guided,
    .claims =
        {
            {.id = "eora-gptq-3bit",
             .text = "At 3 bits, a low-rank term for what coding lost diverges less than as many bytes spent on "
                     "smaller groups",
             .ours = {"eora", "bits=3 group=128 rank=8"},
             .baseline = {"gptq", "bits=3|4 group=16..128:4"}},
        },
};

}  // namespace sparing
