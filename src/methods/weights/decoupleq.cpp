// decoupleQ (arXiv:2404.12759): integer codes and floating scales and minima are two sets of unknowns of one
// quadratic, solved in turn: scales and minima in closed form, codes by error feedback and coordinate descent. Then the
// scales and minima are trained on the block's outputs, codes held.

#include "lab/math/learned_rounding.h"
#include "methods/block_training.h"
#include "methods/input_basis.h"
#include "methods/second_order.h"
#include "methods/site.h"

namespace sparing {
namespace {

Result<IntGroupSpec> spec_of(const Params& params, std::int64_t cols) {
  IntGroupSpec spec;
  spec.bits = static_cast<std::int32_t>(params.integer("bits"));
  SPARING_TRY(spec.groups.group, group_inputs("decoupleq", params, cols));
  spec.zero = ZeroKind::f16_min;
  spec.zero_offset = 0;
  return spec;
}

Result<std::vector<CodecSpec>> codings(const Params& params, std::int64_t, std::int64_t cols) {
  SPARING_TRY(const IntGroupSpec spec, spec_of(params, cols));
  return std::vector<CodecSpec>{spec};
}

Result<SiteResult> apply(const SiteProblem& problem, const Params& params) {
  SPARING_TRY(const IntGroupSpec spec, spec_of(params, problem.cols));
  const std::int64_t rows = problem.rows;
  ThreadPool pool(problem.threads);
  const double damping = params.real("damping");
  SPARING_TRY(const SharedMetric metric, metric_at("decoupleq", problem, {.damping = damping}, pool));
  const std::vector<float> target = corrected_weight(problem, *metric, params.real("correct"), pool);
  SecondOrderCoding coding = code_second_order(target, rows, *metric, {.spec = spec}, pool);
  const std::int64_t rounds = alternate(target, rows, *metric, params.integer("rounds"), coding, pool);
  SiteResult result;
  result.report = report_on(problem, coding.decoded, pool);
  result.report.note = second_order_note(*metric, damping, coding.rows_rounded);
  result.report.note += (result.report.note.empty() ? "" : ", ") + std::to_string(rounds) + " rounds";
  const std::int64_t steps = params.integer("steps");
  // Places that do not move are codes that are held.
  const auto trainable = std::make_shared<math::LearnedRounding>(
      std::move(coding.grid.base()), target, metric->diagonal,
      math::LearnedRoundingOptions{.moves = math::LearnedRoundingOptions::Moves::size,
                                   .rate = 0,
                                   .scale_rate = first_rate(params.real("scale_reach"), steps)});
  SPARING_TRY(result.weight, trainable->code());
  if (steps > 0 && params.real("scale_reach") > 0) result.trainable = trainable;
  return result;
}

TrainingSchedule schedule(const Params& params) {
  return params.real("scale_reach") > 0 ? training_schedule(params) : TrainingSchedule{};
}

std::vector<ParamSpec> parameters() {
  using Type = ParamSpec::Type;
  std::vector<ParamSpec> params{
      bits_param(2, 2, 8),
      group_param(64, "consecutive inputs that share a scale and a minimum, both in f16; 0: the whole row"),
      {.name = "rounds",
       .type = Type::integer,
       .default_value = 4,
       .min = 0,
       .max = 100,
       .choices = {},
       .help = "rounds of closed-form scales and minima, then codes anew; a row keeps what lowers its loss"},
      scale_reach_param(),
      damping_param(),
      correct_param(1),
      guided_param(),
      basis_param(),
  };
  for (const ParamSpec& spec : training_params()) params.push_back(spec);
  return params;
}

}  // namespace

extern const Method decoupleq_method;
const Method decoupleq_method{
    .name = "decoupleq",
    .summary = "Solves for codes and for scales with minima in turn, then trains the latter with their block",
    .paper = "arXiv:2404.12759",
    .kind = MethodKind::weights,
    .traits =
        {.compressed = "weights", .deploy = "quantisation", .prune = "none", .peft = "none", .calibration = "training"},
    .approximate = false,
    .params = parameters(),
    .codings = codings,
    .transform = basis_transform,
    .corrects = corrects,
    .apply = in_basis<apply>,
    .guides = guided,
    .schedule = schedule,
    .claims =
        {
            {.id = "decoupleq-gptq-2bit",
             .text = "At 2 bits, codes and scales found in turns diverge less than error feedback",
             .ours = {"decoupleq", "bits=2 group=64"},
             .baseline = {"gptq", "bits=2|3 group=16..64:4"}},
        },
};

}  // namespace sparing
