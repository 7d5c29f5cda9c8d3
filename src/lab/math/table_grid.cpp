#include "lab/math/table_grid.h"

#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "tensor/half.h"

namespace sparing::math {
namespace {

/// Shares of the full span that are tried.
constexpr int kSteps = 24;
constexpr float kLeast = 0.4f;

float as_f16(float value) {
  return f16_to_f32(f32_to_f16(value));
}

}  // namespace

TableGrid::TableGrid(const LutGroupSpec& spec, std::int64_t rows, std::int64_t cols)
    : spec_(spec), rows_(rows), cols_(cols) {
  groups_ = static_cast<std::int64_t>(
      ceil_div(static_cast<std::uint64_t>(cols), static_cast<std::uint64_t>(spec.groups.group)));
  for (std::size_t i = 0; i + 1 < spec.table.size(); ++i)
    middles_.push_back(spec.table[i] + (spec.table[i + 1] - spec.table[i]) / 2);
  parts_.codes.resize(static_cast<std::size_t>(rows * cols));
  parts_.scale_f16.resize(static_cast<std::size_t>(rows * groups_));
  scales_.resize(parts_.scale_f16.size());
}

// Entries are few: counting those passed needs no branch.
std::size_t TableGrid::nearest(float value) const {
  std::size_t code = 0;
  for (const float middle : middles_) code += value > middle;
  return code;
}

double TableGrid::error(std::span<const float> values, std::span<const float> importance, float scale) const {
  const float inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
  double total = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double e = static_cast<double>(values[i]) - scale * spec_.table[nearest(values[i] * inverse)];
    total += e * e * (importance.empty() ? 1.0f : importance[i]);
  }
  return total;
}

void TableGrid::fit(std::int64_t row, std::int64_t group, std::span<const float> values,
                    std::span<const float> importance) {
  float low = 0, high = 0;
  for (const float v : values) low = std::min(low, v), high = std::max(high, v);
  const float left = -spec_.table.front(), right = spec_.table.back();
  float best = 0;
  double least = error(values, importance, 0);
  for (const float sign : {1.0f, -1.0f}) {
    // The least scale at which nothing is clipped: the table turned round if it is negative.
    const float full = sign > 0 ? std::max(-low / left, high / right) : std::max(high / left, -low / right);
    for (int step = 0; step < kSteps; ++step) {
      const float share = 1.0f - (1.0f - kLeast) * static_cast<float>(step) / (kSteps - 1);
      const float scale = as_f16(sign * full * share);
      const double now = error(values, importance, scale);
      if (now < least || !std::isfinite(now)) least = now, best = scale;
    }
  }
  const auto at = static_cast<std::size_t>(row * groups_ + group);
  scales_[at] = best;
  parts_.scale_f16[at] = f32_to_f16(best);
}

float TableGrid::code(std::int64_t row, std::int64_t column, float value) {
  const float scale = scales_[static_cast<std::size_t>(row * groups_ + column / spec_.groups.group)];
  const std::size_t code = nearest(scale != 0.0f ? value / scale : 0.0f);
  parts_.codes[static_cast<std::size_t>(row * cols_ + column)] = static_cast<std::uint8_t>(code);
  return scale * spec_.table[code];
}

void TableGrid::round(std::span<const float> weight, ThreadPool& pool) {
  const std::int64_t width = spec_.groups.group;
  pool.parallel_for(rows_, 1, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t row = first; row < last; ++row) {
      for (std::int64_t g = 0; g < groups_; ++g)
        fit(row, g,
            weight.subspan(static_cast<std::size_t>(row * cols_ + g * width),
                           static_cast<std::size_t>(std::min(width, cols_ - g * width))),
            {});
      for (std::int64_t c = 0; c < cols_; ++c) code(row, c, weight[static_cast<std::size_t>(row * cols_ + c)]);
    }
  });
}

std::vector<float> TableGrid::decoded() const {
  std::vector<float> values(parts_.codes.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const auto row = static_cast<std::int64_t>(i) / cols_,
               group = static_cast<std::int64_t>(i) % cols_ / spec_.groups.group;
    values[i] = scales_[static_cast<std::size_t>(row * groups_ + group)] * spec_.table[parts_.codes[i]];
  }
  return values;
}

Result<Term> TableGrid::pack() const {
  for (const float scale : scales_)
    if (!std::isfinite(scale))
      return input_error("[lut_group] a group's scale is beyond f16's range (65504): rescale the weights");
  return sparing::pack(spec_, rows_, cols_, parts_);
}

}  // namespace sparing::math
