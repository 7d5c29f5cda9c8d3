// Learned rounding by block reconstruction (after SignRound, arXiv:2309.05516): which way each weight rounds, and how
// large each group's scale is, learned from gradients of the block's output error.

#include "lab/math/learned_rounding.h"
#include "methods/block_training.h"
#include "methods/input_basis.h"
#include "methods/int_grid.h"
#include "methods/second_order.h"
#include "methods/site.h"

namespace sparing {
namespace {

Result<std::vector<CodecSpec>> codings(const Params& params, std::int64_t, std::int64_t cols) {
  SPARING_TRY(const IntGroupSpec spec, int_grid_spec("signround", params, cols));
  return std::vector<CodecSpec>{spec};
}

bool from_rounding(const Params& params) {
  return params.choice("start") == "rtn";
}

bool corrects_start(const Params& params) {
  return corrects(params) && !from_rounding(params);
}

Result<SiteResult> apply(const SiteProblem& problem, const Params& params) {
  SPARING_TRY(const IntGroupSpec spec, int_grid_spec("signround", params, problem.cols));
  const std::int64_t rows = problem.rows, cols = problem.cols;
  ThreadPool pool(problem.threads);
  const double damping = params.real("damping");
  SPARING_TRY(const SharedMetric metric, metric_at("signround", problem, {.damping = damping}, pool));
  SiteResult result;
  std::string note;
  const math::Clip clip = int_grid_clip(params);
  std::vector<float> target(problem.weight.begin(), problem.weight.end());
  math::IntGrid start(spec, rows, cols, clip);
  if (from_rounding(params)) {
    math::round_to_nearest(start, target, metric->diagonal, pool);
  } else {
    target = corrected_weight(problem, *metric, params.real("correct"), pool);
    SecondOrderCoding coding = code_second_order(
        target, rows, *metric, {.spec = spec, .clip = clip, .refine = params.integer("refine")}, pool);
    start = std::move(coding.grid.base());
    note = second_order_note(*metric, damping, coding.rows_rounded);
  }
  const std::vector<float> decoded = decoded_values(start);
  const std::int64_t steps = params.integer("steps");
  const auto trainable = std::make_shared<math::LearnedRounding>(
      std::move(start), target, metric->diagonal,
      math::LearnedRoundingOptions{.moves = params.choice("moves") == "size"
                                                ? math::LearnedRoundingOptions::Moves::size
                                                : math::LearnedRoundingOptions::Moves::sign,
                                   .rate = first_rate(params.real("reach"), steps),
                                   .scale_rate = first_rate(params.real("scale_reach"), steps)});
  SPARING_TRY(result.weight, trainable->code());
  if (steps > 0) result.trainable = trainable;
  result.report = report_on(problem, decoded, pool);
  result.report.note = std::move(note);
  return result;
}

std::vector<ParamSpec> parameters() {
  std::vector<ParamSpec> rest = training_params();
  for (const ParamSpec& spec : {
           ParamSpec{.name = "reach",
          .type = ParamSpec::Type::real,
          .default_value = 0.5,
          .min = 0,
          .max = 8,
          .choices = {},
          .help = "codes that a weight's place moves by in all the steps: each at most, or root mean square "
                  "(moves=size)"},
           ParamSpec{.name = "moves",
           .type = ParamSpec::Type::choice,
           .default_value = 0,
           .min = 0,
           .max = 1,
           .choices = {"sign", "size"},
           .help = "places move all alike, or as their gradients over their inputs' curvature (with "
                   "reach=0.1)"},
           scale_reach_param(),
           ParamSpec{.name = "start",
           .type = ParamSpec::Type::choice,
           .default_value = 0,
           .min = 0,
           .max = 1,
           .choices = {"rtn", "second_order"},
           .help = "codes to start from: rounding, or error feedback and coordinate descent (with "
                   "moves=size)"},
           damping_param(),
           correct_param(1),
           refine_param(),
           guided_param(),
           basis_param(),
       })
    rest.push_back(spec);
  return int_grid_params(std::move(rest), "mse");
}

}  // namespace

extern const Method signround_method;
const Method signround_method{
    .name = "signround",
    .summary = "Learns roundings and scales from gradients of each block's output error",
    .paper = "arXiv:2309.05516",
    .kind = MethodKind::weights,
    .traits =
        {.compressed = "weights", .deploy = "quantisation", .prune = "none", .peft = "none", .calibration = "training"},
    .approximate = false,
    .params = parameters(),
    .codings = codings,
    .transform = basis_transform,
    .corrects = corrects_start,
    .apply = in_basis<apply>,
    .guides = guided,
    .schedule = training_schedule,
    .claims =
        {
            {.id = "signround-gptq-4bit",
             .text = "At 4 bits, roundings learned from a block's outputs diverge less than corrected error feedback",
             .ours = {"signround", "bits=4 group=64"},
             .baseline = {"gptq", "bits=4 group=64 correct=1"}},
            {.id = "signround-gptq-3bit",
             .text = "At 3 bits, roundings learned from a block's outputs diverge less than corrected error feedback",
             .ours = {"signround", "bits=3 group=64"},
             .baseline = {"gptq", "bits=3 group=64 correct=1"}},
        },
};

}  // namespace sparing
