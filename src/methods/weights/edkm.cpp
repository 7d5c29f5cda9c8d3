// eDKM (arXiv:2309.00964): a table of levels shared by the tensor, learned by differentiable k-means from gradients of
// the block's output error. The start is weighted k-means (second moments as Fisher information) or second-order coding
// on such a table.

#include <cstdio>

#include "lab/math/table_training.h"
#include "lab/math/vq_training.h"
#include "methods/block_training.h"
#include "methods/input_basis.h"
#include "methods/site.h"
#include "methods/vq_start.h"

namespace sparing {
namespace {

Result<VqAdditiveSpec> spec_of(const Params& params, std::int64_t cols) {
  VqAdditiveSpec spec{.vector = 1, .books = 1, .bits = static_cast<std::int32_t>(params.integer("bits"))};
  SPARING_TRY(spec.groups.group, group_inputs("edkm", params, cols));
  return spec;
}

Result<std::vector<CodecSpec>> codings(const Params& params, std::int64_t, std::int64_t cols) {
  SPARING_TRY(const VqAdditiveSpec spec, spec_of(params, cols));
  return std::vector<CodecSpec>{spec};
}

Result<SiteResult> apply(const SiteProblem& problem, const Params& params) {
  SPARING_TRY(const VqAdditiveSpec spec, spec_of(params, problem.cols));
  ThreadPool pool(problem.threads);
  SPARING_TRY(TrainingStart start, vq_start("edkm", problem, spec, params, 1, pool));
  SiteResult result;
  SPARING_TRY(Term term, start.grid.pack());
  result.weight = {.rows = problem.rows, .cols = problem.cols, .input = {}, .terms = {std::move(term)}};
  result.report = std::move(start.report);
  const std::int64_t steps = params.integer("steps");
  if (steps == 0) return result;
  const double rate = first_rate(params.real("reach"), steps),
               scale_rate = first_rate(params.real("scale_reach"), steps);
  if (params.choice("learns") == "table") {
    result.trainable = std::make_shared<math::VqTraining>(
        std::move(start.grid), *start.metric, math::VqTrainingOptions{.book_rate = rate, .scale_rate = scale_rate});
    return result;
  }
  const auto training = std::make_shared<math::TableTraining>(
      std::move(start.grid), start.target, start.metric->diagonal,
      math::TableTrainingOptions{.rate = rate,
                                 .scale_rate = scale_rate,
                                 .temperature = params.real("temperature"),
                                 .iterations = static_cast<int>(params.integer("iterations"))});
  const math::SavedBytes saved = training->saved();
  char text[96];
  std::snprintf(text, sizeof text, "%.1f MiB kept for gradients, %.1f plainly",
                static_cast<double>(saved.unique) / (1 << 20), static_cast<double>(saved.plain) / (1 << 20));
  result.report.note += (result.report.note.empty() ? "" : ", ") + std::string(text);
  result.trainable = training;
  return result;
}

std::vector<ParamSpec> parameters() {
  using Type = ParamSpec::Type;
  std::vector<ParamSpec> own = {
      bits_param(3, 2, 8, "bits of a code; the table has 2^bits levels"),
      group_param(),
      {.name = "learns",
       .type = Type::choice,
       .default_value = 0,
       .min = 0,
       .max = 1,
       .choices = {"soft", "table"},
       .help = "weights and table by differentiable k-means, or the table's levels alone, codes held"},
      {.name = "reach",
       .type = Type::real,
       .default_value = 0.6,
       .min = 0,
       .max = 8,
       .choices = {},
       .help = "how far weights move in all the steps, root mean square in gaps of the table (learns=table: levels, as "
               "a share of their root mean square)"},
      {.name = "scale_reach",
       .type = Type::real,
       .default_value = 0.02,
       .min = 0,
       .max = 0.9,
       .choices = {},
       .help = "share of itself that a scale can move by in all the steps; 0: scales stay"},
      {.name = "temperature",
       .type = Type::real,
       .default_value = 0.1,
       .min = 0.0001,
       .max = 100,
       .choices = {},
       .help = "of the soft assignment, in squared gaps of the table"},
      {.name = "iterations",
       .type = Type::integer,
       .default_value = 1,
       .min = 1,
       .max = 20,
       .choices = {},
       .help = "of soft k-means in a step; gradients go through all"},
  };
  return vq_params(
      std::move(own),
      "codes to start from: error feedback, refits and coordinate descent on the table, or its nearest levels");
}

}  // namespace

extern const Method edkm_method;
const Method edkm_method{
    .name = "edkm",
    .summary = "Learns a table of levels by differentiable k-means on each block's output error",
    .paper = "arXiv:2309.00964",
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
            {.id = "edkm-gptq-3bit",
             .text = "At 3 bits, tables trained by soft k-means diverge less than error feedback on an even grid",
             .ours = {"edkm", "bits=3"},
             .baseline = {"gptq", "bits=3|4 group=16..128:4"}},
            {.id = "edkm-table-3bit",
             .text = "At 3 bits, soft k-means diverges less than Fisher k-means whose table alone is trained",
             .ours = {"edkm", "bits=3"},
             .baseline = {"edkm", "bits=3 start=nearest learns=table reach=0.3 scale_reach=0.05"}},
        },
};

}  // namespace sparing
