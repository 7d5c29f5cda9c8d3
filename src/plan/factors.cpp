#include "plan/factors.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace sparing {
namespace {

constexpr int kSweeps = 500;
/// From the common factor, either way. Where samples hardly differ, least squares gives a class nothing, and the solver
/// would spend nothing on it.
constexpr double kMostApart = 4;

double predicted(const JointSample& sample, const std::vector<double>& factors) {
  return std::inner_product(sample.expected.begin(), sample.expected.end(), factors.begin(), 0.0);
}

/// Least squares of (measured - f' expected) / measured over all samples but `left_out`, plus
/// strength * sum_c weight_c (f_c - common)^2 with the common factor that fits best alone; by coordinate descent, f
/// within kMostApart of it.
std::vector<double> solve(const std::vector<JointSample>& samples, std::size_t classes, double strength,
                          std::size_t left_out) {
  double top = 0, bottom = 0;
  std::vector<double> weight(classes);
  for (std::size_t j = 0; j < samples.size(); ++j) {
    if (j == left_out) continue;
    const double whole = std::accumulate(samples[j].expected.begin(), samples[j].expected.end(), 0.0);
    top += whole / samples[j].measured;
    bottom += whole * whole / (samples[j].measured * samples[j].measured);
    for (std::size_t c = 0; c < classes; ++c) {
      const double x = samples[j].expected[c] / samples[j].measured;
      weight[c] += x * x;
    }
  }
  const double common = bottom > 0 ? top / bottom : 1.0;
  std::vector<double> factors(classes, common);
  if (!std::isfinite(strength)) return factors;
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    double moved = 0;
    for (std::size_t c = 0; c < classes; ++c) {
      if (weight[c] <= 0) continue;
      double slope = 0;
      for (std::size_t j = 0; j < samples.size(); ++j) {
        if (j == left_out) continue;
        const double x = samples[j].expected[c] / samples[j].measured;
        slope += x * (1.0 - predicted(samples[j], factors) / samples[j].measured);
      }
      slope += strength * weight[c] * (common - factors[c]);
      const double next =
          std::clamp(factors[c] + slope / (weight[c] * (1 + strength)), common / kMostApart, common * kMostApart);
      moved = std::max(moved, std::abs(next - factors[c]));
      factors[c] = next;
    }
    if (moved < 1e-9 * common) break;
  }
  return factors;
}

double left_out_error(const std::vector<JointSample>& samples, std::size_t classes, double strength) {
  double sum = 0;
  for (std::size_t j = 0; j < samples.size(); ++j) {
    const double p = predicted(samples[j], solve(samples, classes, strength, j));
    sum += (p / samples[j].measured - 1) * (p / samples[j].measured - 1);
  }
  return std::sqrt(sum / static_cast<double>(samples.size()));
}

}  // namespace

std::string describe(const DamageFactors& factors, const std::vector<std::string>& classes) {
  std::string text;
  for (std::size_t c = 0; c < classes.size(); ++c) text += classes[c] + " " + std::to_string(factors.by_class[c]) + " ";
  return text + "residual " + std::to_string(factors.residual);
}

DamageFactors fit_factors(const std::vector<JointSample>& samples, std::size_t classes) {
  if (samples.empty()) return {std::vector<double>(classes, 1.0), 1.0};
  double best = std::numeric_limits<double>::infinity(), residual = 1.0;
  if (samples.size() > 1) {
    residual = std::numeric_limits<double>::infinity();
    for (const double strength : {std::numeric_limits<double>::infinity(), 1.0, 0.3, 0.1, 0.03, 0.01}) {
      const double error = left_out_error(samples, classes, strength);
      if (error < residual) {
        residual = error;
        best = strength;
      }
    }
  }
  return {solve(samples, classes, best, samples.size()), residual};
}

}  // namespace sparing
