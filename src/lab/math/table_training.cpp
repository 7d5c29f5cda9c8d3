#include "lab/math/table_training.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tensor/half.h"

namespace sparing::math {
namespace {

/// Of the gap to the next entry, how far from its own a weight starts at most: the many that feedback took past the
/// middle would otherwise change their codes all at once, at the first step.
constexpr float kStartsWithin = 0.25f;

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
      of_scales_(grid_.scales().size()) {
  const std::vector<float> sorted = sorted_table(grid_);
  for (std::int64_t r = 0; r < grid_.rows(); ++r)
    for (std::int64_t c = 0; c < grid_.cols(); ++c) {
      float& w = weights_[static_cast<std::size_t>(r * grid_.cols() + c)];
      const float scale = grid_.scale(r, grid_.group_of(c)), value = grid_.entry(0, grid_.codes(r, c)[0])[0];
      if (scale == 0.0f) continue;
      const auto above = std::upper_bound(sorted.begin(), sorted.end(), value),
                 here = std::lower_bound(sorted.begin(), sorted.end(), value);
      float u = w / scale;
      if (above != sorted.end()) u = std::min(u, value + kStartsWithin * (*above - value));
      if (here != sorted.begin()) u = std::max(u, value - kStartsWithin * (value - *(here - 1)));
      w = u * scale;
    }
  ThreadPool pool(1);
  const SoftKMeans soft = soften(pool);
  for (std::size_t k = 0; k < soft.centres().size(); ++k)
    offsets_.push_back(static_cast<float>(grid_.books()[k] - soft.centres()[k]));
}

SoftKMeans TableTraining::soften(ThreadPool& pool) const {
  const std::int64_t cols = grid_.cols();
  std::vector<std::uint16_t> points(weights_.size());
  std::vector<float> importance(weights_.size());
  std::vector<double> sums(static_cast<std::size_t>(grid_.rows()));
  pool.parallel_for(grid_.rows(), 1, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t r = first; r < last; ++r)
      for (std::int64_t c = 0; c < cols; ++c) {
        const auto i = static_cast<std::size_t>(r * cols + c);
        const float scale = grid_.scale(r, grid_.group_of(c));
        const float u = scale != 0.0f ? weights_[i] / scale : 0.0f;
        points[i] = f32_to_f16(std::clamp(u, -1000.0f, 1000.0f));
        const double counts = static_cast<double>(curvature_[static_cast<std::size_t>(c)]) * scale * scale;
        sums[static_cast<std::size_t>(r)] += counts;
        importance[i] = static_cast<float>(counts);
      }
  });
  const double mean = std::accumulate(sums.begin(), sums.end(), 0.0) / static_cast<double>(weights_.size());
  if (mean > 0)
    for (float& m : importance) m = static_cast<float>(m / mean);
  const double gap = gap_of(sorted_table(grid_));
  return SoftKMeans(
      points, importance, {grid_.entry(0, 0), static_cast<std::size_t>(grid_.entries())},
      {.temperature = std::max(options_.temperature * gap * gap, 1e-6), .iterations = options_.iterations});
}

SavedBytes TableTraining::saved() const {
  ThreadPool pool(1);
  return soften(pool).saved();
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
  const auto below = [&](float u) {
    if (middles.size() > 16)
      return static_cast<std::size_t>(std::upper_bound(middles.begin(), middles.end(), u) - middles.begin());
    std::size_t count = 0;  // which of a few is past prediction, so no branches
    for (const float middle : middles) count += middle <= u;
    return count;
  };
  pool.parallel_for(grid_.rows(), 1, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t r = first; r < last; ++r)
      for (std::int64_t c = 0; c < grid_.cols(); ++c) {
        const float scale = grid_.scale(r, grid_.group_of(c));
        if (scale == 0.0f) continue;
        const float u = weights_[static_cast<std::size_t>(r * grid_.cols() + c)] / scale;
        grid_.codes(r, c)[0] = table[below(u)].second;
      }
  });
}

void TableTraining::step(std::span<const float> gradient, double left, ThreadPool& pool) {
  const std::int64_t cols = grid_.cols();
  const auto at = [&](std::int64_t r, std::int64_t c) { return static_cast<std::size_t>(r * cols + c); };
  const auto each_row = [&](const auto& work) {
    pool.parallel_for(grid_.rows(), 1, [&](std::int64_t first, std::int64_t last, int) {
      for (std::int64_t r = first; r < last; ++r) work(r);
    });
  };
  const SoftKMeans soft = soften(pool);
  std::vector<float> by_value(weights_.size()), moves(weights_.size());
  std::vector<double> by_scale(grid_.scales().size()), squares(static_cast<std::size_t>(grid_.rows()));
  each_row([&](std::int64_t r) {
    for (std::int64_t c = 0; c < cols; ++c) {
      by_value[at(r, c)] = gradient[at(r, c)] * grid_.scale(r, grid_.group_of(c));
      by_scale[static_cast<std::size_t>(r * grid_.groups() + grid_.group_of(c))] +=
          static_cast<double>(gradient[at(r, c)]) * grid_.entry(0, grid_.codes(r, c)[0])[0];
    }
  });
  soft.backward(by_value, moves);
  // Each weight moves as its gradient over its input's curvature, all by one factor: a root mean square of rate * gap.
  each_row([&](std::int64_t r) {
    for (std::int64_t c = 0; c < cols; ++c) {
      const float scale = grid_.scale(r, grid_.group_of(c));
      if (scale == 0.0f) {
        moves[at(r, c)] = 0;
        continue;
      }
      const float move = moves[at(r, c)] / (curvature_[static_cast<std::size_t>(c)] * scale * scale);
      moves[at(r, c)] = move * scale;
      squares[static_cast<std::size_t>(r)] += static_cast<double>(move) * move;
    }
  });
  const double square = std::accumulate(squares.begin(), squares.end(), 0.0), gap = gap_of(sorted_table(grid_)),
               unit = options_.rate * left * gap / std::sqrt(square / static_cast<double>(weights_.size()));
  if (std::isfinite(unit))
    each_row([&](std::int64_t r) {
      for (std::int64_t c = 0; c < cols; ++c) weights_[at(r, c)] -= static_cast<float>(unit) * moves[at(r, c)];
    });

  for (std::size_t k = 0; k < soft.centres().size(); ++k)
    grid_.books()[k] = offsets_[k] + static_cast<float>(soft.centres()[k]);
  of_scales_.begin_step();
  for (std::size_t i = 0; options_.scale_rate > 0 && i < by_scale.size(); ++i) {
    const double move = of_scales_.of(i, by_scale[i]),
                 share = options_.scale_rate * left * std::copysign(1.0, grid_.scales()[i]) * move;
    grid_.scales()[i] *= static_cast<float>(1 - std::clamp(share, -0.5, 0.5));
  }
  const float units = grid_.freeze();
  for (float& offset : offsets_) offset *= units;
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
