#pragma once
// What methods of weights do alike at a site: the checks before, and the report after.

#include <span>
#include <string_view>

#include "base/thread_pool.h"
#include "methods/method.h"

namespace sparing {

/// Sizes agree and every weight is finite; the message names the site.
Status check_problem(std::string_view method, const SiteProblem& problem);
/// "[NAME] SITE has no calibration statistics: ..." where it has none.
Status check_statistics(std::string_view method, const SiteProblem& problem);
ParamSpec bits_param(int usual, int least, int most, std::string_view help = "bits per weight, metadata aside");
ParamSpec group_param(int usual = 64,
                      std::string_view help = "consecutive inputs that share a scale; 0: the whole row");
/// How many inputs share a scale: the parameter `group`, where 0 is the whole row. Error: wider than a row.
Result<std::int32_t> group_inputs(std::string_view method, const Params& params, std::int64_t cols);

/// |W - W'|^2 and |W|^2, summed as they are added.
struct WeightError {
  double error = 0, size = 0;
  void add(std::span<const float> weight, std::span<const float> decoded);
  double relative() const { return size > 0 ? error / size : 0; }
};
/// |W - W'|^2 / |W|^2; 0 for a weight of zeros.
double relative_error(std::span<const float> weight, std::span<const float> decoded);
/// Both errors of decoded [rows, cols] against the problem's weight, by its statistics.
SiteReport report_on(const SiteProblem& problem, std::span<const float> decoded, ThreadPool& pool);

}  // namespace sparing
