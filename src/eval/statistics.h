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

/// Two candidates on the same windows.
struct PairedTest {
  Estimate difference;  ///< mean of a - b over the pairs, with its standard error
  double p_value = 1;   ///< two-sided: how often random signs of the differences give a mean at least as far from 0
};
/// Sign-flip test: every combination of signs up to 16 pairs, else 20,000 seeded ones. a and b are as long.
PairedTest paired_test(std::span<const double> a, std::span<const double> b);

}  // namespace sparing
