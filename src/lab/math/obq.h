#pragma once
// One second-order coding engine (OBQ/OBS family) with a pluggable grid: error feedback in a chosen order, coordinate
// descent, closed-form scales. Errors are measured in the metric H = sum_t x_t x_t' of the inputs: |e|_H^2 = e H e'.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "lab/math/grid.h"
#include "lab/math/statistics.h"

namespace sparing::math {

/// H with damping, and its factor in the order of coding.
struct Metric {
  std::int64_t cols = 0;
  std::vector<float> h;             ///< [cols, cols], both triangles, damped
  std::vector<float> diagonal;      ///< of h
  std::vector<std::int32_t> order;  ///< the input coded j-th
  std::vector<float> feedback;      ///< [cols, cols] N in coding order: H = N D N', unit upper triangular
  std::vector<float> pivots;        ///< D: what a squared error costs once later inputs have made up for it
  double damping = 0;               ///< added to the diagonal, as a share of its mean
};
struct MetricOptions {
  double damping = 0.01;   ///< share of the mean diagonal; raised tenfold while the factorisation fails
  bool descending = true;  ///< code inputs by descending diagonal ("act order"); else as they come
  std::int64_t run = 1;    ///< consecutive inputs that stay together, ordered by the mean of their diagonals
};
/// Errors: values that are not finite, a negative diagonal, a factorisation that fails at every damping. An H of zeros
/// (no signal at all) becomes the identity.
Result<Metric> make_metric(std::span<const float> second_moment, std::int64_t cols, const MetricOptions& options,
                           ThreadPool& pool);

/// Metrics of one matrix of second moments, by their options: made once each. Thread-safe.
class MetricCache {
 public:
  Result<std::shared_ptr<const Metric>> get(const Statistics& statistics, const MetricOptions& options,
                                            ThreadPool& pool);

  /// The same inputs turned, the one way that all who ask turn them: made once.
  struct Turned;
  std::shared_ptr<Turned> turned(const std::function<std::vector<float>()>& second_moment);

 private:
  std::mutex mutex_;
  std::map<std::tuple<double, bool, std::int64_t>, std::shared_ptr<const Metric>> known_;
  std::shared_ptr<Turned> turned_;
};
struct MetricCache::Turned {
  std::vector<float> second_moment;
  MetricCache metrics;
};
/// make_metric of the statistics' second moments, or what their cache has of it.
Result<std::shared_ptr<const Metric>> metric_of(const Statistics& statistics, const MetricOptions& options,
                                                ThreadPool& pool);

struct FeedbackOptions {
  std::int64_t block = 128;     ///< inputs between two matrix products
  bool fit_on_the_way = false;  ///< fit each group when it is reached, on weights as feedback has moved them
  bool permuted = false;        ///< the grid's columns are positions in coding order, not inputs
};
/// Codes all rows of weight [rows, cols] by error feedback (GPTQ, arXiv:2210.17323). `decoded` [rows, cols] receives
/// the values of the codes, by input. Unless fit_on_the_way, the grid's groups have been fitted.
void code_with_feedback(std::span<const float> weight, std::int64_t rows, const Metric& metric,
                        const FeedbackOptions& options, Grid& grid, std::span<float> decoded, ThreadPool& pool);

/// What the weight should become so that its outputs, on inputs that carry the damage of earlier sites, come nearest to
/// the original model's: W + strength * (W input_damage + residual_damage) H^-1 (the least-squares solution at strength
/// 1; after Qronos, arXiv:2505.11695, and GPTAQ, arXiv:2504.02692). Damages as in Statistics; either may be empty.
std::vector<float> corrected_target(std::span<const float> weight, std::int64_t rows, const Metric& metric,
                                    std::span<const float> input_damage, std::span<const float> residual_damage,
                                    float strength, ThreadPool& pool);

/// (w - w') H (w - w')' of each row. decoded: empty where it is zeros.
std::vector<double> row_losses(std::span<const float> weight, std::span<const float> decoded, std::int64_t rows,
                               const Metric& metric, ThreadPool& pool);

/// The same with H given plainly, [cols, cols], both triangles.
std::vector<double> row_losses(std::span<const float> weight, std::span<const float> decoded, std::int64_t rows,
                               std::int64_t cols, std::span<const float> h, ThreadPool& pool);
/// tr(D H D') / tr(W H W'), D = W - W'; 0 where there is no signal.
double relative_output_error(std::span<const float> weight, std::span<const float> decoded, std::int64_t rows,
                             std::int64_t cols, std::span<const float> h, ThreadPool& pool);

/// Moves single codes while that lowers a row's loss, at most `sweeps` times over the inputs. Never raises a row's loss
/// (but for rounding). Grid columns are inputs.
void descend(std::span<const float> weight, std::int64_t rows, const Metric& metric, int sweeps, Grid& grid,
             std::span<float> decoded, ThreadPool& pool);

/// With all codes kept, the least-squares scales (and minima, where stored) of each row in the metric, rounded as
/// stored; a row keeps its old ones where that would raise its loss. Coded scales go to descend_lines. `decoded` holds
/// the grid's values. Returns how many rows changed.
std::int64_t refit_scales(std::span<const float> weight, std::int64_t rows, const Metric& metric, IntGrid& grid,
                          std::span<float> decoded, ThreadPool& pool);

/// The same for coded scales and minima: single steps of theirs, and factors of their super-scales, while they lower
/// the row's loss. Never raises a row's loss (but for rounding).
std::int64_t descend_lines(std::span<const float> weight, std::int64_t rows, const Metric& metric, IntGrid& grid,
                           std::span<float> decoded, ThreadPool& pool);

}  // namespace sparing::math
