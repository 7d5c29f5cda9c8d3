#pragma once
// For tests: weights and the second moments of inputs of which a few directions make up most. Bits by the generator
// alone.

#include <cstdint>
#include <vector>

#include "base/testing.h"

namespace sparing::testing {

using testkit::normals;

/// [n, n], inputs that do not correlate.
inline std::vector<float> identity(std::int64_t n) {
  std::vector<float> h(static_cast<std::size_t>(n * n));
  for (std::int64_t i = 0; i < n; ++i) h[static_cast<std::size_t>(i * (n + 1))] = 1.0f;
  return h;
}

/// sum x x' of `tokens` inputs, [cols, cols]: Gaussian along `directions` Gaussian vectors, and by `noise` everywhere.
inline std::vector<float> planted_moment(std::int64_t cols, std::size_t directions, double noise, std::int64_t tokens,
                                         Rng& rng) {
  const auto n = static_cast<std::size_t>(cols);
  std::vector<double> mix(n * directions), x(n);
  for (double& m : mix) m = rng.normal();
  std::vector<float> moment(n * n);
  for (std::int64_t token = 0; token < tokens; ++token) {
    for (double& v : x) v = noise * rng.normal();
    for (std::size_t k = 0; k < directions; ++k) {
      const double z = rng.normal();
      for (std::size_t j = 0; j < n; ++j) x[j] += z * mix[j * directions + k];
    }
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j) moment[i * n + j] += static_cast<float>(x[i] * x[j]);
  }
  return moment;
}

}  // namespace sparing::testing
