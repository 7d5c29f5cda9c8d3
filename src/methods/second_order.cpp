#include "methods/second_order.h"

#include <algorithm>
#include <cstdio>

#include "methods/int_grid.h"
#include "methods/site.h"

namespace sparing {
namespace {

/// Scales for the codes as they are; outliers keep their rests, which the grid has not to hold.
void refit(std::span<const float> target, std::int64_t rows, const math::Metric& metric, SecondOrderCoding& coding,
           ThreadPool& pool) {
  if (coding.grid.rests().empty()) {
    math::refit_scales(target, rows, metric, coding.grid.base(), coding.decoded, pool);
    return;
  }
  std::vector<float> values = decoded_values(coding.grid.base());
  math::refit_scales(coding.grid.without_rests(target), rows, metric, coding.grid.base(), values, pool);
  for (std::int64_t r = 0; r < rows; ++r) coding.grid.decode_row(r, coding.decoded.data() + r * metric.cols);
}

constexpr std::int64_t kWeightsAtOnce = 4 << 20, kLeastRows = 512;

SecondOrderCoding code_rows(std::span<const float> target, std::int64_t rows, const math::Metric& metric,
                            const SecondOrderOptions& options, ThreadPool& pool) {
  const std::int64_t cols = metric.cols;
  math::IntGrid fitted(options.spec, rows, cols, options.clip);
  if (!options.outliers) {
    math::round_to_nearest(fitted, target, metric.diagonal, pool);
  } else {
    math::round_to_nearest(fitted, math::without_outliers(target, cols, options.spec.groups.group, *options.outliers),
                           metric.diagonal, pool);
  }
  math::OutlierGrid rounded(std::move(fitted), options.outliers);
  rounded.take(target);
  const std::vector<float> rounded_values = rounded.decoded();
  SecondOrderCoding coding{rounded, std::vector<float>(target.size()), {}, 0};
  const math::FeedbackOptions feedback{
      .block = options.block, .fit_on_the_way = !options.static_groups, .permuted = false};
  math::code_with_feedback(target, rows, metric, feedback, coding.grid, coding.decoded, pool);
  for (std::int64_t round = 0; round < options.refine; ++round) {
    refit(target, rows, metric, coding, pool);
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

}  // namespace

Result<SharedMetric> metric_at(std::string_view method, const SiteProblem& problem, const math::MetricOptions& options,
                               ThreadPool& pool) {
  SPARING_CHECK_OK(check_problem(method, problem));
  SPARING_CHECK_OK(check_statistics(method, problem));
  return math::metric_of(*problem.statistics, options, pool);
}

SecondOrderCoding code_second_order(std::span<const float> target, std::int64_t rows, const math::Metric& metric,
                                    const SecondOrderOptions& options, ThreadPool& pool) {
  const std::int64_t cols = metric.cols;
  const std::int64_t step =
      options.rows_at_once > 0 ? options.rows_at_once : std::max(kWeightsAtOnce / cols, kLeastRows);
  if (rows <= step) return code_rows(target, rows, metric, options, pool);
  SecondOrderCoding coding{
      math::OutlierGrid(math::IntGrid(options.spec, rows, cols, options.clip), options.outliers), {}, {}, 0};
  coding.decoded.reserve(target.size());
  for (std::int64_t first = 0; first < rows; first += step) {
    const std::int64_t count = std::min(step, rows - first);
    SecondOrderOptions here = options;
    if (options.outliers) {
      here.outliers = std::make_shared<const math::Outliers>(math::rows_of(*options.outliers, first, count));
    }
    const auto at = static_cast<std::size_t>(first * cols), size = static_cast<std::size_t>(count * cols);
    const SecondOrderCoding part = code_rows(target.subspan(at, size), count, metric, here, pool);
    coding.grid.copy_rows(part.grid, 0, count, first);
    coding.decoded.insert(coding.decoded.end(), part.decoded.begin(), part.decoded.end());
    coding.losses.insert(coding.losses.end(), part.losses.begin(), part.losses.end());
    coding.rows_rounded += part.rows_rounded;
  }
  return coding;
}

std::int64_t alternate(std::span<const float> target, std::int64_t rows, const math::Metric& metric,
                       std::int64_t rounds, SecondOrderCoding& coding, ThreadPool& pool) {
  const std::int64_t cols = metric.cols;
  for (std::int64_t round = 0; round < rounds; ++round) {
    SecondOrderCoding next = coding;
    refit(target, rows, metric, next, pool);
    SecondOrderCoding anew = next;
    math::code_with_feedback(target, rows, metric, {}, anew.grid, anew.decoded, pool);
    bool changed = false;
    for (SecondOrderCoding* const trial : {&next, &anew}) {
      math::descend(target, rows, metric, 4, trial->grid, trial->decoded, pool);
      trial->losses = math::row_losses(target, trial->decoded, rows, metric, pool);
      for (std::int64_t r = 0; r < rows; ++r) {
        const auto i = static_cast<std::size_t>(r);
        if (!(trial->losses[i] < coding.losses[i])) continue;
        coding.grid.copy_row(trial->grid, r);
        std::copy_n(trial->decoded.begin() + r * cols, cols, coding.decoded.begin() + r * cols);
        coding.losses[i] = trial->losses[i];
        changed = true;
      }
    }
    if (!changed) return round;
  }
  return rounds;
}

bool is_corrected(const SiteProblem& problem, double strength) {
  return strength > 0 && !(problem.statistics->input_damage.empty() && problem.statistics->residual_damage.empty());
}

double borne_out(std::int64_t tokens, std::int64_t inputs) {
  constexpr double kTokensPerInput = 9;
  return static_cast<double>(tokens) / (static_cast<double>(tokens) + kTokensPerInput * static_cast<double>(inputs));
}

std::vector<float> corrected_weight(const SiteProblem& problem, const math::Metric& metric, double strength,
                                    ThreadPool& pool) {
  if (!is_corrected(problem, strength)) return {problem.weight.begin(), problem.weight.end()};
  const Statistics& statistics = *problem.statistics;
  return math::corrected_target(problem.weight, problem.rows, metric, statistics.input_damage,
                                statistics.residual_damage,
                                static_cast<float>(strength * borne_out(statistics.tokens, problem.cols)), pool);
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
          .help =
              "how much of the damage from sites coded before to make up for, of what the tokens bear out (0: none; "
              "needs a second pass)"};
}

bool corrects(const Params& params) {
  return params.real("correct") > 0;
}

ParamSpec guided_param() {
  return {.name = "guided",
          .type = ParamSpec::Type::boolean,
          .default_value = 0,
          .min = 0,
          .max = 1,
          .choices = {},
          .help =
              "calibration tokens count by how much the predictions depend on the outputs there (takes a backward "
              "pass)"};
}

bool guided(const Params& params) {
  return params.flag("guided");
}

ParamSpec scale_reach_param() {
  return {.name = "scale_reach",
          .type = ParamSpec::Type::real,
          .default_value = 0.05,
          .min = 0,
          .max = 0.9,
          .choices = {},
          .help = "share of itself that a group's scale can move by in all the steps; 0: scales stay"};
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
