#pragma once
// What the methods that start from second-order coding share: error feedback on an integer grid fitted beforehand, and
// its polish. A method of its own is a file of its own; this is the mathematics between them.

#include "lab/math/grid.h"
#include "lab/math/obq.h"
#include "lab/math/outliers.h"
#include "methods/method.h"

namespace sparing {

using SharedMetric = std::shared_ptr<const math::Metric>;
/// The metric of the site's inputs, after check_problem and check_statistics (methods/site.h).
Result<SharedMetric> metric_at(std::string_view method, const SiteProblem& problem, const math::MetricOptions& options,
                               ThreadPool& pool);

struct SecondOrderOptions {
  IntGroupSpec spec;
  math::Clip clip = math::Clip::mse;
  bool static_groups = true;                            ///< groups fitted beforehand, not when they are reached
  std::int64_t block = 128;                             ///< inputs between two matrix products
  std::int64_t refine = 2;                              ///< rounds of least-squares scales and coordinate descent
  std::shared_ptr<const math::Outliers> outliers = {};  ///< weights that are kept beside the grid
  std::int64_t rows_at_once = 0;  ///< for the sake of memory; 0: about 16 MiB of them. No bit depends on it
};

struct SecondOrderCoding {
  math::OutlierGrid grid;
  std::vector<float> decoded;     ///< [rows, cols]
  std::vector<double> losses;     ///< of each row, in the metric
  std::int64_t rows_rounded = 0;  ///< rows that rounding served better
};

/// Codes target [rows, cols] in the metric; a row whose loss plain rounding would lower keeps plain rounding.
SecondOrderCoding code_second_order(std::span<const float> target, std::int64_t rows, const math::Metric& metric,
                                    const SecondOrderOptions& options, ThreadPool& pool);

/// Goes on from a coding: closed-form scales and minima for its codes, then codes anew, by error feedback on the new
/// grid and by coordinate descent from the old codes, in turn, at most `rounds` times (decoupleQ, arXiv:2404.12759).
/// Each row takes the best of what it had and what it got: no row's loss rises. Returns rounds that changed anything.
std::int64_t alternate(std::span<const float> target, std::int64_t rows, const math::Metric& metric,
                       std::int64_t rounds, SecondOrderCoding& coding, ThreadPool& pool);

/// Whether corrected_weight would move anything.
bool is_corrected(const SiteProblem& problem, double strength);
/// How much of a least-squares correction so many tokens bear out for so many inputs: tokens / (tokens + 9 inputs). It
/// fits the text's noise too, the more the fewer tokens there are for each coefficient; 9 suits what was measured
/// (gptq.md).
double borne_out(std::int64_t tokens, std::int64_t inputs);
/// The weight, moved by `strength` times what is borne out towards what makes up for the damages in the problem's
/// statistics, if it has any.
std::vector<float> corrected_weight(const SiteProblem& problem, const math::Metric& metric, double strength,
                                    ThreadPool& pool);

/// "damping raised to 0.1" where it was, and "3 rows rounded" where there are any.
std::string second_order_note(const math::Metric& metric, double damping, std::int64_t rows_rounded);

ParamSpec damping_param();
ParamSpec correct_param(double default_value);
/// Whether there is anything to correct (Method::corrects).
bool corrects(const Params& params);
ParamSpec refine_param();
/// Whether calibration tokens count by what the predictions depend on (Method::guides, guided).
ParamSpec guided_param();
bool guided(const Params& params);
/// Of the methods that train scales with their block.
ParamSpec scale_reach_param();

}  // namespace sparing
