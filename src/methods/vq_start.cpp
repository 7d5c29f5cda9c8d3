#include "methods/vq_start.h"

#include "lab/math/vq_coding.h"
#include "methods/block_training.h"
#include "methods/input_basis.h"
#include "methods/site.h"

namespace sparing {
namespace {

bool from_nearest(const Params& params) {
  return params.choice("start") == "nearest";
}

}  // namespace

Result<TrainingStart> vq_start(std::string_view method, const SiteProblem& problem, const VqAdditiveSpec& spec,
                               const Params& params, int beam, ThreadPool& pool) {
  const double damping = params.real("damping");
  SPARING_TRY(SharedMetric metric, metric_at(method, problem, {.damping = damping, .run = spec.vector}, pool));
  std::vector<float> target = from_nearest(params) ? std::vector<float>(problem.weight.begin(), problem.weight.end())
                                                   : corrected_weight(problem, *metric, params.real("correct"), pool);
  std::vector<float> decoded;
  math::VqGrid grid = math::code_vq(
      target, problem.rows, spec, *metric,
      {.feedback = !from_nearest(params), .refine = params.integer("refine"), .beam = beam, .seed = problem.seed},
      decoded, pool);
  SiteReport report = report_on(problem, decoded, pool);
  report.note = second_order_note(*metric, damping, 0);
  return TrainingStart{std::move(metric), std::move(target), std::move(grid), std::move(report)};
}

std::vector<ParamSpec> vq_params(std::vector<ParamSpec> own, std::string_view start_help) {
  own.push_back({.name = "start",
                 .type = ParamSpec::Type::choice,
                 .default_value = 0,
                 .min = 0,
                 .max = 1,
                 .choices = {"second_order", "nearest"},
                 .help = start_help});
  for (ParamSpec& p : training_params()) own.push_back(std::move(p));
  own.insert(own.end(), {damping_param(), correct_param(1), refine_param(), basis_param()});
  return own;
}

bool vq_corrects(const Params& params) {
  return corrects(params) && !from_nearest(params);
}

}  // namespace sparing
