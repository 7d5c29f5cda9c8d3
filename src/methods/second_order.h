#pragma once
// What the methods that start from second-order coding share: error feedback on an integer grid fitted beforehand, and
// its polish. A method of its own is a file of its own; this is the mathematics between them.

#include "lab/math/grid.h"
#include "lab/math/obq.h"
#include "methods/method.h"

namespace sparing {

struct SecondOrderOptions {
  IntGroupSpec spec;
  math::Clip clip = math::Clip::mse;
  bool static_groups = true;  ///< groups fitted beforehand, not when they are reached
  std::int64_t block = 128;   ///< inputs between two matrix products
  std::int64_t refine = 2;    ///< rounds of least-squares scales and coordinate descent
};

struct SecondOrderCoding {
  math::IntGrid grid;
  std::vector<float> decoded;     ///< [rows, cols]
  std::vector<double> losses;     ///< of each row, in the metric
  std::int64_t rows_rounded = 0;  ///< rows that rounding served better
};

/// Codes target [rows, cols] in the metric; a row whose loss plain rounding would lower keeps plain rounding.
SecondOrderCoding code_second_order(std::span<const float> target, std::int64_t rows, const math::Metric& metric,
                                    const SecondOrderOptions& options, ThreadPool& pool);

/// The weight, moved by `strength` towards what makes up for the damages in the problem's statistics, if it has any.
std::vector<float> corrected_weight(const SiteProblem& problem, const math::Metric& metric, double strength,
                                    ThreadPool& pool);

/// "damping raised to 0.1" where it was, and "3 rows rounded" where there are any.
std::string second_order_note(const math::Metric& metric, double damping, std::int64_t rows_rounded);

ParamSpec damping_param();
ParamSpec correct_param(double default_value);
ParamSpec refine_param();

}  // namespace sparing
