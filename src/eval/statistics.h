#pragma once
// Means with standard errors and quantiles over tokens.

#include <span>
#include <vector>

namespace sparing {

struct Estimate {
  double value = 0;
  double error = 0;  ///< standard error; 0 for fewer than two values
};

Estimate mean_of(std::span<const double> values);
/// Linear interpolation between order statistics (numpy's default). `sorted` ascending and not empty; fraction in [0,
/// 1].
double quantile(std::span<const double> sorted, double fraction);

}  // namespace sparing
