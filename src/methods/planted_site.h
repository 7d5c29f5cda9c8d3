#pragma once
// For tests of methods: one weight, coded by name, and its values.

#include <string>
#include <utility>
#include <vector>

#include "lab/math/planted_inputs.h"
#include "methods/method.h"

namespace sparing::testing {

using Given = std::vector<std::pair<std::string, std::string>>;

/// weight [rows, ...]; moment: second moments of `tokens` inputs, or empty: no statistics.
inline Result<SiteResult> code_site(std::string_view method, const std::vector<float>& weight, std::int64_t rows,
                                    const std::vector<float>& moment, const Given& given, std::int64_t tokens = 400) {
  const Method& m = *find_method(method).value();
  const std::int64_t cols = static_cast<std::int64_t>(weight.size()) / rows;
  const Statistics statistics{cols, tokens, moment};
  SiteProblem problem;
  problem.site = "test";
  problem.rows = rows;
  problem.cols = cols;
  problem.weight = weight;
  problem.statistics = moment.empty() ? nullptr : &statistics;
  return m.apply(problem, Params::make(m, given).value());
}

inline std::vector<float> decoded(const SiteResult& result) {
  std::vector<float> values(static_cast<std::size_t>(result.weight.rows * result.weight.cols));
  decode_effective_rows(result.weight, 0, result.weight.rows, values.data());
  return values;
}

/// Gaussian weights and inputs near a space of few dimensions.
struct PlantedSite {
  std::int64_t rows, cols;
  std::vector<float> weight, moment;

  PlantedSite(std::int64_t r, std::int64_t c, std::uint64_t seed) : rows(r), cols(c) {
    Rng rng(seed);
    weight = normals(rows * cols, rng, 0.05);
    moment = planted_moment(cols, 8, 0.3, 400, rng);
  }
  /// The loss that the outputs would have, and where wanted its gradient by the values.
  double loss(const std::vector<float>& values, std::vector<float>* gradient) const {
    double total = 0;
    const auto n = static_cast<std::size_t>(cols);
    for (std::size_t r = 0; r < static_cast<std::size_t>(rows); ++r)
      for (std::size_t i = 0; i < n; ++i) {
        double sum = 0;
        for (std::size_t j = 0; j < n; ++j)
          sum += (static_cast<double>(values[r * n + j]) - weight[r * n + j]) * moment[i * n + j];
        total += sum * (static_cast<double>(values[r * n + i]) - weight[r * n + i]);
        if (gradient) (*gradient)[r * n + i] = static_cast<float>(2 * sum);
      }
    return total;
  }
  /// The losses at the start and, the least of them, on the way of `steps` steps against that loss.
  std::pair<double, double> trained(TrainableWeight& trainable, int steps) const {
    ThreadPool pool(1);
    std::vector<float> values(weight.size()), gradient(weight.size());
    double first = 0, best = 0;
    for (int step = 0; step <= steps; ++step) {
      trainable.values(values, pool);
      const double now = loss(values, &gradient);
      if (step == 0) first = best = now;
      best = std::min(best, now);
      trainable.step(gradient, 1.0 - static_cast<double>(step) / std::max(steps, 1), pool);
    }
    return {first, best};
  }
};

}  // namespace sparing::testing
