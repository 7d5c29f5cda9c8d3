#include "methods/second_order.h"

#include <algorithm>
#include <cstdio>

#include "methods/int_grid.h"

namespace sparing {

SecondOrderCoding code_second_order(std::span<const float> target, std::int64_t rows, const math::Metric& metric,
                                    const SecondOrderOptions& options, ThreadPool& pool) {
  const std::int64_t cols = metric.cols;
  math::IntGrid rounded(options.spec, rows, cols, options.clip);
  math::round_to_nearest(rounded, target, metric.diagonal, pool);
  const std::vector<float> rounded_values = decoded_values(rounded);
  SecondOrderCoding coding{rounded, std::vector<float>(target.size()), {}, 0};
  const math::FeedbackOptions feedback{
      .block = options.block, .fit_on_the_way = !options.static_groups, .permuted = false};
  math::code_with_feedback(target, rows, metric, feedback, coding.grid, coding.decoded, pool);
  for (std::int64_t round = 0; round < options.refine; ++round) {
    math::refit_scales(target, rows, metric, coding.grid, coding.decoded, pool);
    math::descend(target, rows, metric, 4, coding.grid, coding.decoded, pool);
  }
  coding.losses = math::row_losses(target, coding.decoded, rows, metric, pool);
  const std::vector<double> fallback = math::row_losses(target, rounded_values, rows, metric, pool);
  for (std::int64_t r = 0; r < rows; ++r) {
    const auto i = static_cast<std::size_t>(r);
    if (!(fallback[i] < coding.losses[i])) continue;
    coding.grid.copy_row(rounded, r);
    std::copy_n(rounded_values.begin() + r * cols, cols, coding.decoded.begin() + r * cols);
    coding.losses[i] = fallback[i];
    ++coding.rows_rounded;
  }
  return coding;
}

std::vector<float> corrected_weight(const SiteProblem& problem, const math::Metric& metric, double strength,
                                    ThreadPool& pool) {
  const Statistics& statistics = *problem.statistics;
  if (strength <= 0 || (statistics.input_damage.empty() && statistics.residual_damage.empty()))
    return {problem.weight.begin(), problem.weight.end()};
  return math::corrected_target(problem.weight, problem.rows, metric, statistics.input_damage,
                                statistics.residual_damage, static_cast<float>(strength), pool);
}

std::string second_order_note(const math::Metric& metric, double damping, std::int64_t rows_rounded) {
  std::string note;
  if (metric.damping > damping) {
    char text[64];
    std::snprintf(text, sizeof text, "damping raised to %g", metric.damping);
    note = text;
  }
  if (rows_rounded > 0) note += (note.empty() ? "" : ", ") + std::to_string(rows_rounded) + " rows rounded";
  return note;
}

ParamSpec damping_param() {
  return {.name = "damping",
          .type = ParamSpec::Type::real,
          .default_value = 0.01,
          .min = 0,
          .max = 10,
          .choices = {},
          .help = "added to the second moments' diagonal, as a share of its mean"};
}

ParamSpec correct_param(double default_value) {
  return {.name = "correct",
          .type = ParamSpec::Type::real,
          .default_value = default_value,
          .min = 0,
          .max = 1,
          .choices = {},
          .help = "how much of the damage from sites coded before to make up for (0: none; needs a second pass)"};
}

ParamSpec refine_param() {
  return {.name = "refine",
          .type = ParamSpec::Type::integer,
          .default_value = 2,
          .min = 0,
          .max = 20,
          .choices = {},
          .help = "rounds of least-squares scales and coordinate descent afterwards"};
}

}  // namespace sparing
