#pragma once
// For tests of structure: a matrix some of whose inputs others can tell, whatever their sizes.

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "base/rng.h"
#include "methods/method.h"

namespace sparing::testing {

struct Groups {
  std::int64_t rows, cols, span;
  std::vector<float> weight, moment;

  /// Every fourth group of inputs is a mixture of the first few, with little of its own; the largest weights are
  /// theirs.
  Groups(std::int64_t r, std::int64_t c, std::int64_t width, std::uint64_t seed) : rows(r), cols(c), span(width) {
    Rng rng(seed);
    const auto n = static_cast<std::size_t>(cols), s = static_cast<std::size_t>(span);
    const auto mixed = [&](std::size_t j) { return j / s % 4 == 3; };
    const auto source = [&](std::size_t j) { return !mixed(j) && j < n / 8; };
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::size_t j = 0; j < n; ++j)
        weight.push_back(static_cast<float>((mixed(j) || source(j) ? 2 : 1) * rng.normal()));
    std::vector<double> x(n), sum(n * n), mix(n * n);
    for (double& m : mix) m = 0.4 * rng.normal();
    for (int token = 0; token < 600; ++token) {
      for (double& v : x) v = rng.normal();
      for (std::size_t j = 0; j < n; ++j) {
        if (!mixed(j)) continue;
        x[j] *= 0.2;
        for (std::size_t k = 0; k < n; ++k) x[j] += source(k) ? mix[j * n + k] * x[k] : 0;
      }
      for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = 0; j < n; ++j) sum[i * n + j] += x[i] * x[j];
    }
    moment.assign(sum.begin(), sum.end());
  }

  math::GroupedWeight problem() const {
    return {.rows = rows, .cols = cols, .span = span, .weight = weight, .h = moment, .row_weights = {}};
  }

  double loss_of(const std::string& method, std::int64_t count) const {
    const Method& m = *find_method(method).value();
    return m.rank({.site = "test", .weight = problem(), .most = count}, Params::make(m, {}).value())
        .value()
        .loss.back();
  }

  /// Those whose part of the outputs has the least power go.
  double loss_of_smallest(std::int64_t count) const {
    std::vector<double> power(static_cast<std::size_t>(cols / span));
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t j = 0; j < cols; ++j)
        power[static_cast<std::size_t>(j / span)] += std::pow(weight[static_cast<std::size_t>(r * cols + j)], 2) *
                                                     moment[static_cast<std::size_t>(j * (cols + 1))];
    std::vector<std::int32_t> order(power.size());
    std::iota(order.begin(), order.end(), 0);
    std::sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
      return power[static_cast<std::size_t>(a)] < power[static_cast<std::size_t>(b)];
    });
    ThreadPool pool(1);
    return math::remove_groups(problem(), count, order, pool).value().loss.back();
  }
};

}  // namespace sparing::testing
