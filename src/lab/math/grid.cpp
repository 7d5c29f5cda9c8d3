#include "lab/math/grid.h"

#include <algorithm>
#include <cmath>

#include "base/checked.h"
#include "lab/math/simd.h"
#include "tensor/half.h"

namespace sparing::math {
namespace {

float as_f16(float value) {
  return f16_to_f32(f32_to_f16(value));
}
float reciprocal(float scale) {
  return scale != 0.0f ? 1.0f / scale : 0.0f;
}
float loss_of(std::span<const float> values, std::span<const float> importance, float scale, float zero, int top) {
  const GridTrial trial{reciprocal(scale), scale, zero, static_cast<float>(top)};
  return simd().trial_loss(static_cast<std::int64_t>(values.size()), values.data(),
                           importance.empty() ? nullptr : importance.data(), trial);
}
struct Range {
  float low, high;
};
Range range_of(std::span<const float> values) {
  Range r{values[0], values[0]};
  for (const float v : values) r = {std::min(r.low, v), std::max(r.high, v)};
  return r;
}

// Fractions of the full span that the clipping search tries: coarse codes gain from clipping more.
constexpr int kClipSteps = 32;
float clip_fraction(int step, int bits) {
  const float least = bits <= 2 ? 0.3f : bits == 3 ? 0.4f : bits == 4 ? 0.5f : 0.7f;
  return 1.0f - (1.0f - least) * static_cast<float>(step) / (kClipSteps - 1);
}

}  // namespace

IntGrid::IntGrid(const IntGroupSpec& spec, std::int64_t rows, std::int64_t cols, Clip clip)
    : spec_(spec), rows_(rows), cols_(cols), clip_(clip), top_((1 << spec.bits) - 1) {
  groups_ = static_cast<std::int64_t>(
      ceil_div(static_cast<std::uint64_t>(cols), static_cast<std::uint64_t>(spec.groups.group)));
  supers_ = spec.groups.super > 0 ? static_cast<std::int64_t>(ceil_div(static_cast<std::uint64_t>(groups_),
                                                                       static_cast<std::uint64_t>(spec.groups.super)))
                                  : 0;
  const auto per_group = static_cast<std::size_t>(rows * groups_);
  parts_.codes.resize(static_cast<std::size_t>(rows * cols));
  lines_.resize(per_group);
  if (spec.groups.scale == ScaleKind::f16) {
    parts_.scale_f16.resize(per_group);
  } else {
    parts_.scale_codes.resize(per_group);
    parts_.scale_super.resize(static_cast<std::size_t>(rows * supers_));
  }
  if (spec.zero == ZeroKind::integer || spec.zero == ZeroKind::coded_min) parts_.zero_codes.resize(per_group);
  if (spec.zero == ZeroKind::coded_min) parts_.zero_super.resize(static_cast<std::size_t>(rows * supers_));
  if (spec.zero == ZeroKind::f16_min) parts_.zero_f16.resize(per_group);
}

IntGrid::Choice IntGrid::choose(std::span<const float> values, std::span<const float> importance) const {
  if (spec_.zero == ZeroKind::constant) return choose_symmetric(values, importance);
  return spec_.zero == ZeroKind::integer ? choose_integer(values, importance) : choose_min(values, importance);
}

// The weight of largest magnitude gets code 0, the one code without a mirror image; the scale takes the sign it needs.
IntGrid::Choice IntGrid::choose_symmetric(std::span<const float> values, std::span<const float> importance) const {
  const Range range = range_of(values);
  const float extreme = -range.low >= range.high ? range.low : range.high, half = static_cast<float>(spec_.zero_offset);
  const bool positive_only = spec_.groups.scale == ScaleKind::coded;
  const float full = positive_only ? std::abs(extreme) / half : -extreme / half;
  Choice best{as_f16(full), 0, spec_.zero_offset};
  if (clip_ == Clip::none || full == 0.0f) return best;
  float least = loss_of(values, importance, best.scale, half, top_);
  for (int step = 0; step < kClipSteps; ++step)
    for (const float sign : {1.0f, -1.0f}) {
      if (sign < 0 && positive_only) continue;
      // Up to half / (half - 1): where the mirrored extreme is exact too.
      const float scale = as_f16(sign * full * clip_fraction(step, spec_.bits) * half / std::max(1.0f, half - 1));
      const float loss = loss_of(values, importance, scale, half, top_);
      if (loss < least) least = loss, best.scale = scale;
    }
  return best;
}

int IntGrid::best_zero(std::span<const float> values, std::span<const float> importance, float scale,
                       int around) const {
  int best = std::clamp(around, 0, top_);
  if (clip_ == Clip::none) return best;
  float least = loss_of(values, importance, scale, static_cast<float>(best), top_);
  for (const int zero : {around - 1, around + 1}) {
    if (zero < 0 || zero > top_) continue;
    const float loss = loss_of(values, importance, scale, static_cast<float>(zero), top_);
    if (loss < least) least = loss, best = zero;
  }
  return best;
}

IntGrid::Choice IntGrid::choose_integer(std::span<const float> values, std::span<const float> importance) const {
  Range range = range_of(values);
  range = {std::min(range.low, 0.0f), std::max(range.high, 0.0f)};  // an integer zero can only hold spans with 0
  const float full = (range.high - range.low) / static_cast<float>(top_);
  const auto zero_for = [&](float scale, float fraction) {
    return static_cast<int>(std::lrintf(std::clamp(-range.low * fraction * reciprocal(scale), 0.0f, 255.0f)));
  };
  Choice best{as_f16(full), 0, 0};
  best.zero = std::clamp(zero_for(best.scale, 1.0f), 0, top_);
  if (clip_ == Clip::none || best.scale == 0.0f || !std::isfinite(best.scale)) return best;
  float least = loss_of(values, importance, best.scale, static_cast<float>(best.zero), top_);
  for (int step = 0; step < kClipSteps; ++step) {
    const float fraction = clip_fraction(step, spec_.bits), scale = as_f16(full * fraction);
    if (scale == 0.0f) break;
    const int zero = best_zero(values, importance, scale, zero_for(scale, fraction));
    const float loss = loss_of(values, importance, scale, static_cast<float>(zero), top_);
    if (loss < least) least = loss, best.scale = scale, best.zero = zero;
  }
  return best;
}

IntGrid::Choice IntGrid::choose_min(std::span<const float> values, std::span<const float> importance) const {
  const Range range = range_of(values);
  const float span = range.high - range.low;
  const auto choice = [&](float low, float high) {
    Choice c;
    c.offset = as_f16(low);
    c.scale = as_f16((high - c.offset) / static_cast<float>(top_));
    return c;
  };
  Choice best = choice(range.low, range.high);
  if (clip_ == Clip::none || best.scale == 0.0f || !std::isfinite(best.scale)) return best;
  float least = loss_of(values, importance, best.scale, -best.offset / best.scale, top_);
  constexpr int kSteps = 8;  // from each side
  for (int i = 0; i < kSteps; ++i)
    for (int j = 0; j < kSteps; ++j) {
      const float cut = (1.0f - clip_fraction(kClipSteps - 1, spec_.bits)) / 2 / (kSteps - 1);
      const Choice c =
          choice(range.low + span * cut * static_cast<float>(i), range.high - span * cut * static_cast<float>(j));
      if (c.scale == 0.0f) continue;
      const float loss = loss_of(values, importance, c.scale, -c.offset / c.scale, top_);
      if (loss < least) least = loss, best = c;
    }
  return best;
}

void IntGrid::store(std::int64_t row, std::int64_t group, const Choice& choice) {
  const std::size_t at = index(row, group);
  Line& line = lines_[at];
  line.scale = choice.scale;
  line.inverse = reciprocal(choice.scale);
  if (spec_.groups.scale == ScaleKind::f16) parts_.scale_f16[at] = f32_to_f16(choice.scale);
  if (spec_.zero == ZeroKind::f16_min) {
    parts_.zero_f16[at] = f32_to_f16(choice.offset);
    line.offset = choice.offset;
  } else {
    if (spec_.zero == ZeroKind::integer) parts_.zero_codes[at] = static_cast<std::uint8_t>(choice.zero);
    line.offset = -choice.scale * static_cast<float>(choice.zero);
  }
}

void IntGrid::fit(std::int64_t row, std::int64_t group, std::span<const float> values,
                  std::span<const float> importance) {
  store(row, group, choose(values, importance));
}

void IntGrid::fit_row(std::int64_t row, std::span<const float> values, std::span<const float> importance) {
  if (spec_.groups.scale == ScaleKind::coded) return fit_coded(row, values, importance);
  for (std::int64_t g = 0; g < groups_; ++g) fit(row, g, part_of(values, g), part_of(importance, g));
}

float IntGrid::code(std::int64_t row, std::int64_t column, float value) {
  const Line& line = lines_[index(row, column / spec_.groups.group)];
  const float wanted = (value - line.offset) * line.inverse;
  // Not lrintf: a library call below SSE4.1. Adding 1.5 * 2^23 rounds to even for |x| < 2^22.
  // A NaN (a scale beyond f16's range, refused when packed) compares false and becomes 0.
  const float bounded = wanted > 0.0f ? std::min(wanted, static_cast<float>(top_)) : 0.0f;
  const float rounded = (bounded + 12582912.0f) - 12582912.0f;
  parts_.codes[static_cast<std::size_t>(row * cols_ + column)] = static_cast<std::uint8_t>(rounded);
  return line.scale * rounded + line.offset;
}

float IntGrid::value_at(std::int64_t row, std::int64_t column) const {
  const Line& line = lines_[index(row, column / spec_.groups.group)];
  return line.scale * static_cast<float>(code_at(row, column)) + line.offset;
}

void IntGrid::decode_row(std::int64_t row, float* out) const {
  for (std::int64_t g = 0; g < groups_; ++g) {
    const Line& line = lines_[index(row, g)];
    const std::int64_t end = std::min(cols_, (g + 1) * std::int64_t{spec_.groups.group});
    if (spec_.zero == ZeroKind::f16_min || spec_.zero == ZeroKind::coded_min) {
      for (std::int64_t c = g * spec_.groups.group; c < end; ++c)
        out[c] = line.scale * static_cast<float>(code_at(row, c)) + line.offset;
    } else {
      const int zero = spec_.zero == ZeroKind::integer ? parts_.zero_codes[index(row, g)] : spec_.zero_offset;
      for (std::int64_t c = g * spec_.groups.group; c < end; ++c)
        out[c] = line.scale * static_cast<float>(code_at(row, c) - zero);
    }
  }
}

bool IntGrid::set_line(std::int64_t row, std::int64_t group, float scale, float offset) {
  const std::size_t at = index(row, group);
  Choice choice{as_f16(scale), as_f16(offset), spec_.zero_offset};
  if (choice.scale == 0.0f || !std::isfinite(choice.scale) || !std::isfinite(choice.offset)) return false;
  if (spec_.zero == ZeroKind::integer) choice.zero = parts_.zero_codes[at];
  store(row, group, choice);
  return true;
}

void IntGrid::copy_rows(const IntGrid& from, std::int64_t first, std::int64_t count, std::int64_t to) {
  const auto copy = [&](auto& target, const auto& source, std::int64_t width) {
    if (!target.empty()) std::copy_n(source.begin() + first * width, count * width, target.begin() + to * width);
  };
  copy(parts_.codes, from.parts_.codes, cols_);
  copy(parts_.scale_f16, from.parts_.scale_f16, groups_);
  copy(parts_.scale_codes, from.parts_.scale_codes, groups_);
  copy(parts_.scale_super, from.parts_.scale_super, supers_);
  copy(parts_.zero_codes, from.parts_.zero_codes, groups_);
  copy(parts_.zero_f16, from.parts_.zero_f16, groups_);
  copy(parts_.zero_super, from.parts_.zero_super, supers_);
  copy(lines_, from.lines_, groups_);
}

Result<Term> IntGrid::pack() const {
  for (const Line& line : lines_)
    if (!std::isfinite(line.scale) || !std::isfinite(line.offset))
      return input_error("[int_group] a group's scale or minimum is beyond f16's range (65504): rescale the weights");
  return sparing::pack(spec_, rows_, cols_, parts_);
}

void round_to_nearest(IntGrid& grid, std::span<const float> weight, std::span<const float> importance,
                      ThreadPool& pool) {
  const std::int64_t cols = grid.cols();
  pool.parallel_for(grid.rows(), 1, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t row = first; row < last; ++row) {
      const auto values = weight.subspan(static_cast<std::size_t>(row * cols), static_cast<std::size_t>(cols));
      grid.fit_row(row, values, importance);
      for (std::int64_t c = 0; c < cols; ++c) grid.code(row, c, values[static_cast<std::size_t>(c)]);
    }
  });
}

}  // namespace sparing::math
