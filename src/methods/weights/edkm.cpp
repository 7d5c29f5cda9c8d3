// eDKM (arXiv:2309.00964): a table of levels shared by the tensor, learned by differentiable k-means from gradients of
// the block's output error. The start is weighted k-means (second moments as Fisher information) or second-order coding
// on such a table.

#include <cstdio>

#include "lab/math/table_training.h"
#include "lab/math/vq_coding.h"
#include "lab/math/vq_training.h"
#include "methods/block_training.h"
#include "methods/input_basis.h"
#include "methods/int_grid.h"
#include "methods/second_order.h"

namespace sparing {
namespace {

Result<VqAdditiveSpec> spec_of(const Params& params, std::int64_t cols) {
  const std::int64_t group = params.integer("group");
  if (group > cols)
    return usage_error("[edkm] group=" + std::to_string(group) + " is wider than a row of " + std::to_string(cols) +
                       " inputs: use at most that, or 0 for the whole row");
  VqAdditiveSpec spec{.vector = 1, .books = 1, .bits = static_cast<std::int32_t>(params.integer("bits"))};
  spec.groups.group = static_cast<std::int32_t>(group == 0 ? cols : group);
  return spec;
}

Result<std::vector<CodecSpec>> codings(const Params& params, std::int64_t, std::int64_t cols) {
  SPARING_TRY(const VqAdditiveSpec spec, spec_of(params, cols));
  return std::vector<CodecSpec>{spec};
}

bool from_nearest(const Params& params) {
  return params.choice("start") == "nearest";
}

bool corrects(const Params& params) {
  return params.real("correct") > 0 && !from_nearest(params);
}

Result<SiteResult> apply(const SiteProblem& problem, const Params& params) {
  SPARING_CHECK_OK(check_problem("edkm", problem));
  SPARING_TRY(const VqAdditiveSpec spec, spec_of(params, problem.cols));
  if (!problem.statistics)
    return usage_error("[edkm] " + problem.site + " has no calibration statistics: code it with rtn, or calibrate");
  const std::int64_t rows = problem.rows, cols = problem.cols;
  ThreadPool pool(problem.threads);
  const double damping = params.real("damping");
  SPARING_TRY(const math::Metric metric, math::make_metric(problem.statistics->second_moment, cols,
                                                           {.damping = damping, .descending = true}, pool));
  SiteResult result;
  const std::vector<float> target = from_nearest(params)
                                        ? std::vector<float>(problem.weight.begin(), problem.weight.end())
                                        : corrected_weight(problem, metric, params.real("correct"), pool);
  std::vector<float> decoded;
  math::VqGrid grid = math::code_vq(
      target, rows, spec, metric,
      {.feedback = !from_nearest(params), .refine = params.integer("refine"), .beam = 1, .seed = problem.seed}, decoded,
      pool);
  result.report.note = second_order_note(metric, damping, 0);
  const std::int64_t steps = params.integer("steps");
  SPARING_TRY(Term term, grid.pack());
  result.weight.rows = rows;
  result.weight.cols = cols;
  result.weight.terms.push_back(std::move(term));
  const double scale_rate = first_rate(params.real("scale_reach"), steps);
  if (steps > 0 && params.choice("learns") == "table") {
    result.trainable = std::make_shared<math::VqTraining>(
        std::move(grid), metric,
        math::VqTrainingOptions{.book_rate = first_rate(params.real("reach"), steps), .scale_rate = scale_rate});
  } else if (steps > 0) {
    const auto training = std::make_shared<math::TableTraining>(
        std::move(grid), target, metric.diagonal,
        math::TableTrainingOptions{.rate = first_rate(params.real("reach"), steps),
                                   .scale_rate = scale_rate,
                                   .temperature = params.real("temperature"),
                                   .iterations = static_cast<int>(params.integer("iterations"))});
    const math::SavedBytes saved = training->saved();
    char text[96];
    std::snprintf(text, sizeof text, "%.1f MiB kept for gradients, %.1f plainly",
                  static_cast<double>(saved.unique) / (1 << 20), static_cast<double>(saved.plain) / (1 << 20));
    result.report.note += (result.report.note.empty() ? "" : ", ") + std::string(text);
    result.trainable = training;
  }
  result.report.weight_error = relative_error(problem.weight, decoded);
  result.report.output_error =
      math::relative_output_error(problem.weight, decoded, rows, cols, problem.statistics->second_moment, pool);
  return result;
}

std::vector<ParamSpec> parameters() {
  using Type = ParamSpec::Type;
  std::vector<ParamSpec> params = {
      {.name = "bits",
       .type = Type::integer,
       .default_value = 3,
       .min = 2,
       .max = 8,
       .choices = {},
       .help = "bits of a code; the table has 2^bits levels"},
      {.name = "group",
       .type = Type::integer,
       .default_value = 64,
       .min = 0,
       .max = 65536,
       .choices = {},
       .help = "consecutive inputs that share a scale; 0: the whole row"},
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
      {.name = "start",
       .type = Type::choice,
       .default_value = 0,
       .min = 0,
       .max = 1,
       .choices = {"second_order", "nearest"},
       .help =
           "codes to start from: error feedback, refits and coordinate descent on the table, or its nearest levels"},
  };
  for (ParamSpec& p : training_params()) params.push_back(std::move(p));
  params.push_back(damping_param());
  params.push_back(correct_param(1));
  params.push_back(refine_param());
  params.push_back(basis_param());
  return params;
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
    .corrects = corrects,
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
