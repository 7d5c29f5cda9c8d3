#pragma once
// What the methods with books of the site's own (of vectors, or of numbers) have in common: the coding that their
// training starts from, and the parameters around it.

#include <span>
#include <string_view>
#include <vector>

#include "lab/math/vq_grid.h"
#include "methods/second_order.h"

namespace sparing {

struct TrainingStart {
  SharedMetric metric;
  std::vector<float> target;  ///< what was coded, [rows, cols]: the weight, or the weight corrected
  math::VqGrid grid;          ///< frozen
  SiteReport report;
};
/// By error feedback, refits and descent, or (start=nearest) by the nearest entries. Errors: metric_at's.
Result<TrainingStart> vq_start(std::string_view method, const SiteProblem& problem, const VqAdditiveSpec& spec,
                               const Params& params, int beam, ThreadPool& pool);
/// The method's own, `start` with this help, and those of training, metric, correction, refinement and basis.
std::vector<ParamSpec> vq_params(std::vector<ParamSpec> own, std::string_view start_help);
/// Method::corrects: codes that feedback has not placed are not corrected either.
bool vq_corrects(const Params& params);

}  // namespace sparing
