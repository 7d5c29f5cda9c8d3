// PV-tuning (arXiv:2405.14852) of additive vector quantisation: books of vectors fitted in the metric of the inputs
// (after AQLM, arXiv:2401.06118, and GPTVQ, arXiv:2402.15319), then trained on the block's outputs: books and scales by
// gradients, and a few codes at a time.

#include "lab/math/vq_training.h"
#include "methods/block_training.h"
#include "methods/input_basis.h"
#include "methods/site.h"
#include "methods/vq_start.h"

namespace sparing {
namespace {

Result<VqAdditiveSpec> spec_of(const Params& params, std::int64_t cols) {
  const auto refuse = [](const std::string& what) { return usage_error("[pv-tuning] " + what); };
  VqAdditiveSpec spec;
  spec.vector = params.choice("vector") == "4" ? 4 : 8;
  const auto bits = static_cast<std::int32_t>(params.integer("bits")) * spec.vector;
  spec.books = (bits + 7) / 8;
  if (spec.books > 2)
    return refuse("bits=" + std::to_string(params.integer("bits")) + " with vector=8 needs " +
                  std::to_string(spec.books) + " books, and there are at most 2: use vector=4");
  spec.bits = bits / spec.books;
  SPARING_TRY(spec.groups.group, group_inputs("pv-tuning", params, cols));
  if (const std::int64_t group = params.integer("group"); group % spec.vector != 0)
    return refuse("group=" + std::to_string(group) + " cuts a vector: use a multiple of " +
                  std::to_string(spec.vector));
  return spec;
}

Result<std::vector<CodecSpec>> codings(const Params& params, std::int64_t, std::int64_t cols) {
  SPARING_TRY(const VqAdditiveSpec spec, spec_of(params, cols));
  return std::vector<CodecSpec>{spec};
}

Result<SiteResult> apply(const SiteProblem& problem, const Params& params) {
  SPARING_TRY(const VqAdditiveSpec spec, spec_of(params, problem.cols));
  ThreadPool pool(problem.threads);
  const int beam = static_cast<int>(params.integer("beam"));
  SPARING_TRY(TrainingStart start, vq_start("pv-tuning", problem, spec, params, beam, pool));
  const std::int64_t steps = params.integer("steps");
  const auto trainable = std::make_shared<math::VqTraining>(
      std::move(start.grid), *start.metric,
      math::VqTrainingOptions{.weight_rate = first_rate(params.real("reach"), steps),
                              .book_rate = first_rate(params.real("book_reach"), steps),
                              .scale_rate = first_rate(params.real("scale_reach"), steps),
                              .most_changes = params.real("max_change"),
                              .forgets = params.real("forgets"),
                              .beam = beam});
  SiteResult result;
  SPARING_TRY(result.weight, trainable->code());
  result.report = std::move(start.report);
  if (steps > 0) result.trainable = trainable;
  return result;
}

std::vector<ParamSpec> parameters() {
  using Type = ParamSpec::Type;
  std::vector<ParamSpec> own = {
      bits_param(2, 1, 4, "bits of codes per weight; books and scales come on top"),
      {.name = "vector",
       .type = Type::choice,
       .default_value = 0,
       .min = 0,
       .max = 1,
       .choices = {"4", "8"},
       .help = "consecutive inputs that a code stands for; up to 8 bits a code take one book, up to 16 two"},
      group_param(0, "consecutive inputs that share a scale, whole vectors; 0: the whole row"),
      {.name = "reach",
       .type = Type::real,
       .default_value = 0.2,
       .min = 0,
       .max = 8,
       .choices = {},
       .help =
           "share of the weights' root mean square that the buffer behind the codes moves by in all; 0: codes stay"},
      {.name = "book_reach",
       .type = Type::real,
       .default_value = 0.05,
       .min = 0,
       .max = 8,
       .choices = {},
       .help = "share of the books' root mean square that an entry moves by in all; 0: books stay"},
      {.name = "scale_reach",
       .type = Type::real,
       .default_value = 0.05,
       .min = 0,
       .max = 0.9,
       .choices = {},
       .help = "share of itself that a scale can move by in all the steps; 0: scales stay"},
      {.name = "max_change",
       .type = Type::real,
       .default_value = 0.02,
       .min = 0,
       .max = 1,
       .choices = {},
       .help = "share of the vectors whose codes may change in a step, those that gain most; 1: no cap"},
      {.name = "forgets",
       .type = Type::real,
       .default_value = 0.3,
       .min = 0,
       .max = 1,
       .choices = {},
       .help = "share of the buffer that is lost at every step; 1: a step sees its own gradient alone"},
      {.name = "beam",
       .type = Type::integer,
       .default_value = 4,
       .min = 1,
       .max = 64,
       .choices = {},
       .help = "entries of the first of two books that are tried for a vector"},
  };
  return vq_params(std::move(own),
                   "codes to start from: error feedback, refits and coordinate descent, or the nearest to each vector");
}

}  // namespace

extern const Method pv_tuning_method;
const Method pv_tuning_method{
    .name = "pv-tuning",
    .summary = "Codes vectors of inputs by shared books; trains books, scales and a few codes a step",
    .paper = "arXiv:2405.14852",
    .kind = MethodKind::weights,
    .traits =
        {.compressed = "weights", .deploy = "quantisation", .prune = "none", .peft = "none", .calibration = "training"},
    .approximate = false,
    .params = parameters(),
    .codings = codings,
    .transform = basis_transform,
    .corrects = vq_corrects,
    .apply = in_basis<apply>,
    .schedule = training_schedule,
    .claims =
        {
            {.id = "pv-tuning-gptq-2bit",
             .text = "At 2 bits, vectors from trained books diverge less than error feedback on an even grid",
             .ours = {"pv-tuning", "bits=2"},
             .baseline = {"gptq", "bits=2|3 group=16..128:4"}},
        },
};

}  // namespace sparing
