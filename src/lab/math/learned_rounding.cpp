#include "lab/math/learned_rounding.h"

#include <algorithm>
#include <cmath>

namespace sparing::math {
namespace {

/// How far from the boundary to the next code a place starts that would round to another code than the start's.
constexpr float kMargin = 0.02f;

template <class T>
float sign(T value) {
  return static_cast<float>((value > 0) - (value < 0));
}

/// Calls f(group, first input, last) for every group of a row.
template <class F>
void for_groups(const IntGrid& grid, F f) {
  const std::int64_t width = grid.spec().groups.group;
  for (std::int64_t g = 0; g < grid.groups(); ++g) f(g, g * width, std::min(grid.cols(), (g + 1) * width));
}

}  // namespace

GroupGradient group_gradient(const IntGrid& grid, std::int64_t row, std::int64_t group,
                             std::span<const float> gradient) {
  const IntGrid::Line& line = grid.line(row, group);
  const std::int64_t begin = group * grid.spec().groups.group,
                     end = std::min(grid.cols(), begin + grid.spec().groups.group);
  double by_code = 0, total = 0;
  for (std::int64_t c = begin; c < end; ++c) {
    const double g = gradient[static_cast<std::size_t>(row * grid.cols() + c)];
    by_code += g * grid.code_at(row, c);
    total += g;
  }
  if (grid.spec().zero == ZeroKind::f16_min) return {by_code, total};
  // The offset is -scale * zero and moves with the scale.
  const double zero = line.scale != 0.0f ? -static_cast<double>(line.offset) / line.scale : 0.0;
  return {by_code - zero * total, 0};
}

LearnedRounding::LearnedRounding(IntGrid start, std::span<const float> weight, std::span<const float> curvature,
                                 const LearnedRoundingOptions& options)
    : grid_(std::move(start)),
      kept_(grid_),
      options_(options),
      scales_(grid_.spec().groups.scale == ScaleKind::f16 && options.scale_rate > 0),
      top_(static_cast<float>((1 << grid_.spec().bits) - 1)) {
  for (const float c : curvature) inverse_curvature_.push_back(1.0f / c);
  places_.resize(weight.size());
  for (std::int64_t r = 0; r < grid_.rows(); ++r) {
    for_groups(grid_, [&](std::int64_t g, std::int64_t first, std::int64_t last) {
      const IntGrid::Line& line = grid_.line(r, g);
      for (std::int64_t c = first; c < last; ++c) {
        const auto i = static_cast<std::size_t>(r * grid_.cols() + c);
        const float code = grid_.code_at(r, c), place = (weight[i] - line.offset) * line.inverse;
        places_[i] = options.moves == LearnedRoundingOptions::Moves::size
                         ? code
                         : std::clamp(std::clamp(place, code - 0.5f + kMargin, code + 0.5f - kMargin), 0.0f, top_);
      }
      if (!scales_) return;
      scale_.push_back(line.scale);
      offset_.push_back(line.offset);
      scale_unit_.push_back(std::abs(line.scale) * static_cast<float>(options.scale_rate));
    });
  }
}

void LearnedRounding::values(std::span<float> out, ThreadPool& pool) const {
  const std::int64_t cols = grid_.cols();
  pool.parallel_for(grid_.rows(), 1, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t r = first; r < last; ++r) grid_.decode_row(r, out.data() + r * cols);
  });
}

void LearnedRounding::step(std::span<const float> gradient, double left, ThreadPool& pool) {
  pool.parallel_for(grid_.rows(), 1, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t r = first; r < last; ++r) {
      if (scales_) step_scales(r, gradient, static_cast<float>(left));
      step_places(r, gradient, static_cast<float>(options_.rate * left));
    }
  });
}

float LearnedRounding::unit_of(std::int64_t row, std::span<const float> gradient, float rate) const {
  double square = 0;
  for_groups(grid_, [&](std::int64_t g, std::int64_t first, std::int64_t last) {
    const float inverse = grid_.line(row, g).inverse;
    double sum = 0;
    for (std::int64_t c = first; c < last; ++c) {
      const double v = static_cast<double>(gradient[static_cast<std::size_t>(row * grid_.cols() + c)]) *
                       inverse_curvature_[static_cast<std::size_t>(c)];
      sum += v * v;
    }
    square += sum * inverse * inverse;
  });
  const double unit = rate / std::sqrt(square / static_cast<double>(grid_.cols()));
  return std::isfinite(unit) ? static_cast<float>(unit) : 0.0f;
}

void LearnedRounding::step_places(std::int64_t row, std::span<const float> gradient, float rate) {
  const bool by_size = options_.moves == LearnedRoundingOptions::Moves::size;
  const float unit = by_size ? unit_of(row, gradient, rate) : rate;
  for_groups(grid_, [&](std::int64_t g, std::int64_t first, std::int64_t last) {
    const float inverse = grid_.line(row, g).inverse;
    if (inverse == 0.0f) return;  // all values of the group are one
    const auto offset = static_cast<std::size_t>(row * grid_.cols());
    for (std::int64_t c = first; c < last; ++c) {
      const auto i = offset + static_cast<std::size_t>(c);
      // A value rises with its place where the scale is positive.
      const float move = by_size ? unit * gradient[i] * inverse_curvature_[static_cast<std::size_t>(c)] * inverse
                                 : std::copysign(unit, inverse) * sign(gradient[i]);
      const float place = places_[i] - move;
      places_[i] = place > 0.0f ? std::min(place, top_) : 0.0f;
      grid_.set_code(row, c, static_cast<std::uint8_t>(places_[i] + 0.5f));
    }
  });
}

void LearnedRounding::step_scales(std::int64_t row, std::span<const float> gradient, float left) {
  for (std::int64_t g = 0; g < grid_.groups(); ++g) {
    const auto at = static_cast<std::size_t>(row * grid_.groups() + g);
    const GroupGradient by = group_gradient(grid_, row, g, gradient);
    const float scale = scale_[at] - left * scale_unit_[at] * sign(by.scale),
                offset = offset_[at] - left * scale_unit_[at] * top_ * sign(by.offset);
    if (!grid_.set_line(row, g, scale, offset)) continue;
    scale_[at] = scale;
    offset_[at] = offset;
  }
}

Result<CodedWeight> LearnedRounding::code() const {
  SPARING_TRY(Term term, grid_.pack());
  CodedWeight weight;
  weight.rows = grid_.rows();
  weight.cols = grid_.cols();
  weight.terms.push_back(std::move(term));
  return weight;
}

}  // namespace sparing::math
