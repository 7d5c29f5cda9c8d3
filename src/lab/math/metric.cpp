#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "lab/math/cholesky.h"
#include "lab/math/obq.h"

namespace sparing::math {
namespace {

// Beyond this width the factor is computed in f32: an f64 copy would take a gigabyte.
constexpr std::int64_t kWidestDouble = 8192;
constexpr int kDampingTries = 6;

template <class T>
bool factor(Metric& m, double added, ThreadPool& pool) {
  const auto n = static_cast<std::size_t>(m.cols);
  std::vector<T> work(n * n);
  pool.parallel_for(m.cols, 16, [&](std::int64_t first, std::int64_t last, int) {
    for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i) {
      const float* const row = m.h.data() + static_cast<std::size_t>(m.order[i]) * n;
      for (std::size_t j = i; j < n; ++j) work[i * n + j] = row[m.order[j]];
      work[i * n + i] += static_cast<T>(added);
    }
  });
  if (!factor_reversed<T>(m.cols, work.data(), pool)) return false;
  m.feedback.assign(n * n, 0.0f);
  m.pivots.resize(n);
  for (std::size_t j = 0; j < n; ++j) m.pivots[j] = static_cast<float>(work[j * n + j] * work[j * n + j]);
  pool.parallel_for(m.cols, 16, [&](std::int64_t first, std::int64_t last, int) {
    for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i)
      for (std::size_t j = i; j < n; ++j) m.feedback[i * n + j] = static_cast<float>(work[i * n + j] / work[j * n + j]);
  });
  return true;
}

}  // namespace

Result<Metric> make_metric(std::span<const float> second_moment, std::int64_t cols, const MetricOptions& options,
                           ThreadPool& pool) {
  const auto n = static_cast<std::size_t>(cols);
  if (second_moment.size() != n * n)
    return internal_error("[metric] " + std::to_string(second_moment.size()) + " second moments for " +
                          std::to_string(cols) + " inputs");
  Metric m;
  m.cols = cols;
  m.h.assign(second_moment.begin(), second_moment.end());
  double mean = 0;
  for (std::size_t j = 0; j < n; ++j) {
    const float d = m.h[j * n + j];
    if (!std::isfinite(d) || d < 0)
      return input_error("[metric] second moment of input " + std::to_string(j) + " is " + std::to_string(d) +
                         ": the model's activations are not finite; check it with `sparing verify`");
    mean += d / static_cast<double>(n);
  }
  for (const float value : m.h)
    if (!std::isfinite(value))
      return input_error(
          "[metric] a second moment is not finite: the model's activations overflow; check it with "
          "`sparing verify`");
  if (mean <= 0) {
    for (std::size_t j = 0; j < n; ++j) m.h[j * n + j] = 1.0f;
    mean = 1;
  }
  m.order.resize(n);
  std::iota(m.order.begin(), m.order.end(), 0);
  if (options.descending) {
    std::vector<double> key(n);
    for (std::size_t j = 0; j < n; ++j) {
      const std::size_t first = j - j % static_cast<std::size_t>(options.run),
                        last = std::min(n, first + static_cast<std::size_t>(options.run));
      for (std::size_t i = first; i < last; ++i) key[j] += m.h[i * (n + 1)] / static_cast<double>(last - first);
    }
    std::stable_sort(m.order.begin(), m.order.end(), [&](std::int32_t a, std::int32_t b) {
      return key[static_cast<std::size_t>(a)] > key[static_cast<std::size_t>(b)];
    });
  }
  double share = options.damping;
  for (int attempt = 0;; ++attempt) {
    const double added = share * mean;
    if (cols <= kWidestDouble ? factor<double>(m, added, pool) : factor<float>(m, added, pool)) {
      m.damping = share;
      m.diagonal.resize(n);
      for (std::size_t j = 0; j < n; ++j) m.diagonal[j] = (m.h[j * n + j] += static_cast<float>(added));
      return m;
    }
    if (attempt == kDampingTries)
      return input_error("[metric] the second moments cannot be factorised even with damping " + std::to_string(share) +
                         " of their mean: calibrate on more text");
    share = std::max(share * 10, 1e-6);
  }
}

Result<std::shared_ptr<const Metric>> MetricCache::get(const Statistics& statistics, const MetricOptions& options,
                                                       ThreadPool& pool) {
  const std::lock_guard lock(mutex_);
  std::shared_ptr<const Metric>& known = known_[{options.damping, options.descending, options.run}];
  if (!known) {
    SPARING_TRY(Metric made, make_metric(statistics.second_moment, statistics.cols, options, pool));
    known = std::make_shared<const Metric>(std::move(made));
  }
  return known;
}

std::shared_ptr<MetricCache::Turned> MetricCache::turned(const std::function<std::vector<float>()>& second_moment) {
  const std::lock_guard lock(mutex_);
  if (!turned_) {
    turned_ = std::make_shared<Turned>();
    turned_->second_moment = second_moment();
  }
  return turned_;
}

Result<std::shared_ptr<const Metric>> metric_of(const Statistics& statistics, const MetricOptions& options,
                                                ThreadPool& pool) {
  if (statistics.metrics != nullptr) return statistics.metrics->get(statistics, options, pool);
  SPARING_TRY(Metric made, make_metric(statistics.second_moment, statistics.cols, options, pool));
  return std::make_shared<const Metric>(std::move(made));
}

}  // namespace sparing::math
