#include "eval/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace sparing {

Estimate mean_of(std::span<const double> values) {
  Estimate estimate;
  if (values.empty()) return estimate;
  const auto n = static_cast<double>(values.size());
  for (const double v : values) estimate.value += v;
  estimate.value /= n;
  if (values.size() < 2) return estimate;
  double squares = 0;
  for (const double v : values) squares += (v - estimate.value) * (v - estimate.value);
  estimate.error = std::sqrt(squares / n / (n - 1));
  return estimate;
}

double quantile(std::span<const double> sorted, double fraction) {
  const double at = fraction * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  if (below + 1 >= sorted.size()) return sorted.back();
  const double part = at - static_cast<double>(below);
  return sorted[below] + part * (sorted[below + 1] - sorted[below]);
}

}  // namespace sparing
