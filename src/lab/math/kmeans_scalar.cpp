// k-means of numbers, exactly: clusters of sorted points are runs, and the best ends of the first j runs follow from
// those of the first j - 1. The end that serves best never moves left as the last point moves right, so each half of a
// row of the table need only be searched on its own side (Groenlund et al., arXiv:1701.07204).

#include <algorithm>
#include <cmath>
#include <numeric>

#include "lab/math/kmeans.h"

namespace sparing::math {
namespace {

class Runs {
 public:
  Runs(std::span<const float> points, std::span<const float> weights) : sums_(points.size() + 1) {
    std::vector<std::size_t> order(points.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return points[a] < points[b]; });
    const auto weight = [&](std::size_t i) { return weights.empty() ? 1.0 : static_cast<double>(weights[i]); };
    double mass = 0;
    for (std::size_t i = 0; i < points.size(); ++i) {
      mass += weight(i);
      middle_ += weight(i) * points[i];
    }
    if (mass > 0) middle_ /= mass;
    for (std::size_t i = 0; i < order.size(); ++i) {
      const double w = weight(order[i]), x = points[order[i]] - middle_;
      sums_[i + 1] = {sums_[i].w + w, sums_[i].wx + w * x, sums_[i].wxx + w * x * x, sums_[i].x + x};
    }
  }

  std::size_t size() const { return sums_.size() - 1; }
  /// Sum of weight * (point - mean)^2 over sorted points [from, to).
  double cost(std::size_t from, std::size_t to) const {
    const Sums &a = sums_[from], &b = sums_[to];
    const double w = b.w - a.w, wx = b.wx - a.wx;
    return w > 0 ? std::max(0.0, b.wxx - a.wxx - wx * wx / w) : 0.0;
  }
  /// The weighted mean; of points without weight the plain one.
  double mean(std::size_t from, std::size_t to) const {
    const Sums &a = sums_[from], &b = sums_[to];
    const double w = b.w - a.w;
    return middle_ + (w > 0 ? (b.wx - a.wx) / w : (b.x - a.x) / static_cast<double>(to - from));
  }

 private:
  /// Over the points before one, less their middle.
  struct Sums {
    double w = 0, wx = 0, wxx = 0, x = 0;
  };
  std::vector<Sums> sums_;
  double middle_ = 0;
};

/// One row of the table: least costs of the first `to` points in one run more than `before` is of, and where the last
/// run begins.
class Row {
 public:
  Row(const Runs& runs, const std::vector<double>& before, std::vector<double>& cost, std::uint32_t* begins)
      : runs_(runs), before_(before), cost_(cost), begins_(begins) {}

  /// Of all `to` in [first, last], whose last runs begin in [low, high].
  void fill(std::size_t first, std::size_t last, std::size_t low, std::size_t high) {
    if (first > last) return;
    const std::size_t to = first + (last - first) / 2;
    double least = HUGE_VAL;
    std::size_t best = low;
    for (std::size_t from = low; from <= std::min(high, to); ++from) {
      const double cost = before_[from] + runs_.cost(from, to);
      if (cost < least) least = cost, best = from;
    }
    cost_[to] = least;
    begins_[to] = static_cast<std::uint32_t>(best);
    if (to > first) fill(first, to - 1, low, best);
    fill(to + 1, last, best, high);
  }

 private:
  const Runs& runs_;
  const std::vector<double>& before_;
  std::vector<double>& cost_;
  std::uint32_t* begins_;
};

}  // namespace

std::vector<float> scalar_centres(std::span<const float> points, std::span<const float> weights,
                                  std::int64_t clusters) {
  const Runs runs(points, weights);
  const std::size_t n = runs.size(), most = std::min(static_cast<std::size_t>(clusters), n);
  std::vector<double> before(n + 1), cost(n + 1);
  std::vector<std::uint32_t> begins((n + 1) * most);
  for (std::size_t to = 1; to <= n; ++to) before[to] = runs.cost(0, to);
  for (std::size_t k = 1; k < most; ++k) {
    Row(runs, before, cost, begins.data() + k * (n + 1)).fill(k + 1, n, k, n - 1);
    std::swap(before, cost);
  }
  std::vector<float> centres(static_cast<std::size_t>(clusters));
  std::size_t to = n;
  for (std::size_t k = most; k-- > 0;) {
    const std::size_t from = k > 0 ? begins[k * (n + 1) + to] : 0;
    centres[k] = static_cast<float>(runs.mean(from, to));
    to = from;
  }
  std::fill(centres.begin() + static_cast<std::ptrdiff_t>(most), centres.end(), centres[most - 1]);
  return centres;
}

}  // namespace sparing::math
