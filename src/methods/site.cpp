#include "methods/site.h"

#include <cmath>

#include "lab/math/obq.h"

namespace sparing {

Status check_problem(std::string_view method, const SiteProblem& problem) {
  const std::string at = "[" + std::string(method) + "] " + problem.site;
  if (problem.rows <= 0 || problem.cols <= 0 ||
      problem.weight.size() != static_cast<std::size_t>(problem.rows) * static_cast<std::size_t>(problem.cols))
    return internal_error(at + ": " + std::to_string(problem.weight.size()) + " weights for " +
                          std::to_string(problem.rows) + " x " + std::to_string(problem.cols));
  for (std::size_t i = 0; i < problem.weight.size(); ++i)
    if (!std::isfinite(problem.weight[i]))
      return input_error(at + ": weight " + std::to_string(i / static_cast<std::size_t>(problem.cols)) + ", " +
                         std::to_string(i % static_cast<std::size_t>(problem.cols)) +
                         " is not finite: the model is damaged, check it with `sparing verify`");
  return {};
}

Status check_statistics(std::string_view method, const SiteProblem& problem) {
  if (problem.statistics != nullptr) return {};
  return usage_error("[" + std::string(method) + "] " + problem.site +
                     " has no calibration statistics: code it with rtn, or calibrate");
}

ParamSpec bits_param(int usual, int least, int most, std::string_view help) {
  return {.name = "bits",
          .type = ParamSpec::Type::integer,
          .default_value = static_cast<double>(usual),
          .min = static_cast<double>(least),
          .max = static_cast<double>(most),
          .choices = {},
          .help = help};
}

ParamSpec group_param(int usual, std::string_view help) {
  return {.name = "group",
          .type = ParamSpec::Type::integer,
          .default_value = static_cast<double>(usual),
          .min = 0,
          .max = 65536,
          .choices = {},
          .help = help};
}

Result<std::int32_t> group_inputs(std::string_view method, const Params& params, std::int64_t cols) {
  const std::int64_t group = params.integer("group");
  if (group > cols)
    return usage_error("[" + std::string(method) + "] group=" + std::to_string(group) + " is wider than a row of " +
                       std::to_string(cols) + " inputs: use at most that, or 0 for the whole row");
  return static_cast<std::int32_t>(group == 0 ? cols : group);
}

void WeightError::add(std::span<const float> weight, std::span<const float> decoded) {
  for (std::size_t i = 0; i < weight.size(); ++i) {
    const double e = static_cast<double>(weight[i]) - decoded[i];
    error += e * e;
    size += static_cast<double>(weight[i]) * weight[i];
  }
}

double relative_error(std::span<const float> weight, std::span<const float> decoded) {
  WeightError sum;
  sum.add(weight, decoded);
  return sum.relative();
}

SiteReport report_on(const SiteProblem& problem, std::span<const float> decoded, ThreadPool& pool) {
  SiteReport report;
  report.weight_error = relative_error(problem.weight, decoded);
  if (problem.statistics != nullptr)
    report.output_error = math::relative_output_error(problem.weight, decoded, problem.rows, problem.cols,
                                                      problem.statistics->second_moment, pool);
  return report;
}

}  // namespace sparing
