#include "lab/math/table_training.h"

#include <algorithm>
#include <cmath>

#include "tensor/half.h"

namespace sparing::math {
namespace {

constexpr double kMeanDecay = 0.9, kSquareDecay = 0.95;

std::vector<float> sorted_table(const VqGrid& grid) {
  std::vector<float> table(grid.entry(0, 0), grid.entry(0, 0) + grid.entries());
  std::sort(table.begin(), table.end());
  return table;
}

/// Root mean square of the distances between neighbouring entries.
double gap_of(const std::vector<float>& sorted) {
  double sum = 0;
  for (std::size_t k = 1; k < sorted.size(); ++k) sum += std::pow(static_cast<double>(sorted[k]) - sorted[k - 1], 2);
  return std::sqrt(sum / static_cast<double>(sorted.size() - 1));
}

}  // namespace

TableTraining::TableTraining(VqGrid start, std::span<const float> weight, std::span<const float> curvature,
                             const TableTrainingOptions& options)
    : grid_(std::move(start)),
      kept_(grid_),
      options_(options),
      weights_(weight.begin(), weight.end()),
      curvature_(curvature.begin(), curvature.end()),
      scale_mean_(grid_.scales().size()),
      scale_square_(grid_.scales().size()) {
  const std::vector<float> sorted = sorted_table(grid_);
  const float margin = static_cast<float>(1e-3 * gap_of(sorted));
  for (std::int64_t r = 0; r < grid_.rows(); ++r)
    for (std::int64_t c = 0; c < grid_.cols(); ++c) {
      float& w = weights_[static_cast<std::size_t>(r * grid_.cols() + c)];
      const float scale = grid_.scale(r, grid_.group_of(c)), value = grid_.entry(0, grid_.codes(r, c)[0])[0];
      if (scale == 0.0f) continue;
      const auto above = std::upper_bound(sorted.begin(), sorted.end(), value),
                 here = std::lower_bound(sorted.begin(), sorted.end(), value);
      float u = w / scale;
      if (above != sorted.end()) u = std::min(u, (value + *above) / 2 - margin);
      if (here != sorted.begin()) u = std::max(u, (value + *(here - 1)) / 2 + margin);
      w = u * scale;
    }
}

SoftKMeans TableTraining::soften() const {
  const std::int64_t cols = grid_.cols();
  std::vector<std::uint16_t> points;
  std::vector<float> importance;
  points.reserve(weights_.size());
  importance.reserve(weights_.size());
  double mean = 0;
  for (std::int64_t r = 0; r < grid_.rows(); ++r)
    for (std::int64_t c = 0; c < cols; ++c) {
      const float scale = grid_.scale(r, grid_.group_of(c));
      const float u = scale != 0.0f ? weights_[static_cast<std::size_t>(r * cols + c)] / scale : 0.0f;
      points.push_back(f32_to_f16(std::clamp(u, -1000.0f, 1000.0f)));
      const double counts = static_cast<double>(curvature_[static_cast<std::size_t>(c)]) * scale * scale;
      mean += counts / static_cast<double>(weights_.size());
      importance.push_back(static_cast<float>(counts));
    }
  if (mean > 0)
    for (float& m : importance) m = static_cast<float>(m / mean);
  const double gap = gap_of(sorted_table(grid_));
  return SoftKMeans(
      points, importance, {grid_.entry(0, 0), static_cast<std::size_t>(grid_.entries())},
      {.temperature = std::max(options_.temperature * gap * gap, 1e-6), .iterations = options_.iterations});
}

SavedBytes TableTraining::saved() const {
  return soften().saved();
}

void TableTraining::values(std::span<float> out, ThreadPool& pool) const {
  pool.parallel_for(grid_.rows(), 1, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t r = first; r < last; ++r) grid_.decode_row(r, out.data() + r * grid_.cols());
  });
}

void TableTraining::assign(ThreadPool& pool) {
  // Thresholds between neighbouring entries; equal ones never meet.
  std::vector<std::pair<float, std::uint8_t>> table;
  for (std::int64_t k = 0; k < grid_.entries(); ++k)
    table.emplace_back(grid_.entry(0, k)[0], static_cast<std::uint8_t>(k));
  std::sort(table.begin(), table.end());
  std::vector<float> middles;
  for (std::size_t k = 1; k < table.size(); ++k) middles.push_back((table[k - 1].first + table[k].first) / 2);
  pool.parallel_for(grid_.rows(), 1, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t r = first; r < last; ++r)
      for (std::int64_t c = 0; c < grid_.cols(); ++c) {
        const float scale = grid_.scale(r, grid_.group_of(c));
        if (scale == 0.0f) continue;
        const float u = weights_[static_cast<std::size_t>(r * grid_.cols() + c)] / scale;
        const auto at = std::upper_bound(middles.begin(), middles.end(), u) - middles.begin();
        grid_.codes(r, c)[0] = table[static_cast<std::size_t>(at)].second;
      }
  });
}

void TableTraining::step(std::span<const float> gradient, double left, ThreadPool& pool) {
  ++steps_;
  const std::int64_t cols = grid_.cols();
  const auto at = [&](std::int64_t r, std::int64_t c) { return static_cast<std::size_t>(r * cols + c); };
  const SoftKMeans soft = soften();
  std::vector<float> by_value(weights_.size()), by_point(weights_.size());
  for (std::int64_t r = 0; r < grid_.rows(); ++r)
    for (std::int64_t c = 0; c < cols; ++c) by_value[at(r, c)] = gradient[at(r, c)] * grid_.scale(r, grid_.group_of(c));
  soft.backward(by_value, by_point);
  // Each weight moves as its gradient over its input's curvature, all by one factor: a root mean square of rate * gap.
  double square = 0;
  std::vector<float> moves(weights_.size());
  for (std::int64_t r = 0; r < grid_.rows(); ++r)
    for (std::int64_t c = 0; c < cols; ++c) {
      const float scale = grid_.scale(r, grid_.group_of(c));
      if (scale == 0.0f) continue;
      const float move = by_point[at(r, c)] / (curvature_[static_cast<std::size_t>(c)] * scale * scale);
      moves[at(r, c)] = move * scale;
      square += static_cast<double>(move) * move;
    }
  const double gap = gap_of(sorted_table(grid_)),
               unit = options_.rate * left * gap / std::sqrt(square / static_cast<double>(weights_.size()));
  if (std::isfinite(unit))
    for (std::size_t i = 0; i < weights_.size(); ++i) weights_[i] -= static_cast<float>(unit) * moves[i];

  std::vector<double> by_scale(grid_.scales().size());
  for (std::int64_t r = 0; r < grid_.rows(); ++r)
    for (std::int64_t c = 0; c < cols; ++c)
      by_scale[static_cast<std::size_t>(r * grid_.groups() + grid_.group_of(c))] +=
          static_cast<double>(gradient[at(r, c)]) * grid_.entry(0, grid_.codes(r, c)[0])[0];
  for (std::size_t k = 0; k < soft.centres().size(); ++k) grid_.books()[k] = static_cast<float>(soft.centres()[k]);
  for (std::size_t i = 0; options_.scale_rate > 0 && i < by_scale.size(); ++i) {
    const double g = by_scale[i];
    scale_mean_[i] = static_cast<float>(kMeanDecay * scale_mean_[i] + (1 - kMeanDecay) * g);
    scale_square_[i] = static_cast<float>(kSquareDecay * scale_square_[i] + (1 - kSquareDecay) * g * g);
    const double move = scale_mean_[i] / (1 - std::pow(kMeanDecay, steps_)) /
                        std::sqrt(scale_square_[i] / (1 - std::pow(kSquareDecay, steps_))),
                 share = options_.scale_rate * left * std::copysign(1.0, grid_.scales()[i]) * move;
    if (std::isfinite(share)) grid_.scales()[i] *= static_cast<float>(1 - std::clamp(share, -0.5, 0.5));
  }
  grid_.freeze();
  assign(pool);
}

Result<CodedWeight> TableTraining::code() const {
  CodedWeight weight;
  weight.rows = grid_.rows();
  weight.cols = grid_.cols();
  SPARING_TRY(Term term, grid_.pack());
  weight.terms.push_back(std::move(term));
  return weight;
}

}  // namespace sparing::math
