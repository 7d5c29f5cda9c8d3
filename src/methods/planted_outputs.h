#pragma once
// For tests of low-rank methods: a weight, tokens to calibrate on, and others to judge by.

#include <string>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "methods/method.h"

namespace sparing::testing {

struct Outputs {
  std::int64_t rows, cols;
  std::vector<float> weight, moment, held_out;

  /// Gaussian weights; inputs near a space of 6 dimensions, of unequal sizes: 800 to calibrate on, 200 held out.
  Outputs(std::int64_t r, std::int64_t c, std::uint64_t seed) : rows(r), cols(c) {
    Rng rng(seed);
    const auto n = static_cast<std::size_t>(cols);
    for (std::int64_t i = 0; i < rows * cols; ++i) weight.push_back(static_cast<float>(0.05 * rng.normal()));
    std::vector<double> mix(6 * n), x(n);
    for (double& m : mix) m = rng.normal();
    moment.assign(n * n, 0.0f);
    for (int token = 0; token < 1000; ++token) {
      for (double& v : x) v = 0.4 * rng.normal();
      for (std::size_t k = 0; k < 6; ++k) {
        const double z = rng.normal();
        for (std::size_t j = 0; j < n; ++j) x[j] += z * mix[k * n + j];
      }
      for (std::size_t j = 0; j < n; j += 9) x[j] *= 3;
      if (token >= 800) {
        for (const double v : x) held_out.push_back(static_cast<float>(v));
        continue;
      }
      for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = 0; j < n; ++j) moment[i * n + j] += static_cast<float>(x[i] * x[j]);
    }
  }

  /// `plain`: calibrated on inputs that are all alike and independent, which makes every metric that of the weights.
  Result<SiteResult> code(const std::string& method, const std::vector<std::pair<std::string, std::string>>& given,
                          bool plain = false) const {
    std::vector<float> h = moment;
    if (plain) {
      h.assign(h.size(), 0.0f);
      for (std::int64_t j = 0; j < cols; ++j) h[static_cast<std::size_t>(j * (cols + 1))] = 1;
    }
    const Method& m = *find_method(method).value();
    const Statistics statistics{cols, 800, h};
    SiteProblem problem;
    problem.site = "test";
    problem.rows = rows;
    problem.cols = cols;
    problem.weight = weight;
    problem.statistics = &statistics;
    return m.apply(problem, Params::make(m, given).value());
  }

  /// Relative squared error of the outputs on the held-out tokens.
  double error(const CodedWeight& coded) const {
    std::vector<float> values(weight.size());
    decode_effective_rows(coded, 0, rows, values.data());
    return error(values);
  }
  double error(const std::vector<float>& values) const {
    double total = 0, whole = 0;
    const auto n = static_cast<std::size_t>(cols);
    for (std::size_t t = 0; t < held_out.size(); t += n)
      for (std::size_t r = 0; r < weight.size(); r += n) {
        double e = 0, y = 0;
        for (std::size_t c = 0; c < n; ++c) {
          e += (static_cast<double>(weight[r + c]) - values[r + c]) * held_out[t + c];
          y += static_cast<double>(weight[r + c]) * held_out[t + c];
        }
        total += e * e;
        whole += y * y;
      }
    return total / whole;
  }
};

}  // namespace sparing::testing
