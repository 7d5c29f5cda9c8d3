// Groups whose scales and minima are codes themselves, under super-scales that several groups of a row share.

#include <algorithm>
#include <cmath>

#include "lab/math/grid.h"
#include "lab/math/simd.h"
#include "tensor/half.h"

namespace sparing::math {
namespace {

float as_f16(float value) {
  return f16_to_f32(f32_to_f16(value));
}
float reciprocal(float value) {
  return value != 0.0f ? 1.0f / value : 0.0f;
}
/// The code of few bits nearest to value / unit.
int nearest(float value, float unit, int most) {
  const float steps = value * reciprocal(unit);
  return steps > 0.0f ? static_cast<int>(std::lrintf(std::min(steps, static_cast<float>(most)))) : 0;
}

/// Few-bit codes are searched: units below the one that holds the largest, and the neighbours of the nearest codes.
constexpr int kFewBits = 5;
constexpr float kUnits[] = {1.0f, 0.9f, 0.8f};

}  // namespace

std::span<const float> IntGrid::part_of(std::span<const float> row, std::int64_t group) const {
  if (row.empty()) return row;
  const std::int64_t width = spec_.groups.group, begin = group * width;
  return row.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(std::min(width, cols_ - begin)));
}

int IntGrid::scale_steps(int code) const {
  return std::abs(code - spec_.groups.scale_offset);
}

IntGrid::Units IntGrid::units_of(std::int64_t row, std::int64_t super) const {
  const auto at = static_cast<std::size_t>(row * supers_ + super);
  return {std::abs(f16_to_f32(parts_.scale_super[at])),
          spec_.zero == ZeroKind::coded_min ? f16_to_f32(parts_.zero_super[at]) : 0.0f};
}

IntGrid::Line IntGrid::line_of(Units units, LineCodes codes) const {
  Line line;
  line.scale = units.scale * static_cast<float>(scale_steps(codes.scale));
  line.inverse = reciprocal(line.scale);
  line.offset = spec_.zero == ZeroKind::coded_min ? -(units.minimum * static_cast<float>(codes.zero))
                                                  : -line.scale * static_cast<float>(codes.zero);
  return line;
}

IntGrid::LineCodes IntGrid::line_codes(std::int64_t row, std::int64_t group) const {
  const std::size_t at = index(row, group);
  return {parts_.scale_codes[at], spec_.zero == ZeroKind::constant ? spec_.zero_offset : parts_.zero_codes[at]};
}

bool IntGrid::line_for(std::int64_t row, std::int64_t group, LineCodes codes, Line& line) const {
  const bool fixed_zero = spec_.zero == ZeroKind::constant;
  if (codes.scale < 0 || codes.scale >= 1 << spec_.groups.scale_bits) return false;
  if (fixed_zero ? codes.zero != spec_.zero_offset : codes.zero < 0 || codes.zero >= 1 << spec_.zero_bits) return false;
  line = line_of(units_of(row, group / spec_.groups.super), codes);
  return line.scale != 0.0f;
}

void IntGrid::set_line_codes(std::int64_t row, std::int64_t group, LineCodes codes) {
  const std::size_t at = index(row, group);
  parts_.scale_codes[at] = static_cast<std::uint8_t>(codes.scale);
  if (spec_.zero != ZeroKind::constant) parts_.zero_codes[at] = static_cast<std::uint8_t>(codes.zero);
  lines_[at] = line_of(units_of(row, group / spec_.groups.super), codes);
}

std::uint16_t IntGrid::super_bits(std::int64_t row, std::int64_t super, Super what) const {
  return (what == Super::scale ? parts_.scale_super
                               : parts_.zero_super)[static_cast<std::size_t>(row * supers_ + super)];
}

void IntGrid::set_super_bits(std::int64_t row, std::int64_t super, Super what, std::uint16_t bits) {
  (what == Super::scale ? parts_.scale_super : parts_.zero_super)[static_cast<std::size_t>(row * supers_ + super)] =
      bits;
  const std::int64_t first = super * spec_.groups.super, last = std::min(groups_, first + spec_.groups.super);
  for (std::int64_t g = first; g < last; ++g) set_line_codes(row, g, line_codes(row, g));
}

IntGrid::LineCodes IntGrid::choose_codes(std::span<const float> values, std::span<const float> importance,
                                         const Choice& wanted, Units units, float& loss) const {
  const int most = (1 << spec_.groups.scale_bits) - 1, offset = spec_.groups.scale_offset;
  const float exact = wanted.scale * reciprocal(units.scale);
  // NaN (a unit of 0 under an infinite scale) counts as none.
  const float steps = exact > 0.0f ? std::min(exact, 1e6f) : exact < 0.0f ? std::max(exact, -1e6f) : 0.0f;
  // Without a search a span that is a little too wide costs less than clipping.
  const auto whole = static_cast<int>(clip_ == Clip::none ? std::ceil(steps - 0.01f) : std::lrintf(steps));
  const int scale = std::clamp(offset > 0 ? offset - whole : whole, 0, most);
  const auto loss_with = [&](LineCodes codes) {
    const Line line = line_of(units, codes);
    const GridTrial trial{line.inverse, line.scale, line.scale != 0.0f ? -line.offset / line.scale : 0.0f,
                          static_cast<float>(top_)};
    return simd().trial_loss(static_cast<std::int64_t>(values.size()), values.data(),
                             importance.empty() ? nullptr : importance.data(), trial);
  };
  const auto zero_near = [&](int scale_code) {
    if (spec_.zero == ZeroKind::constant) return spec_.zero_offset;
    if (spec_.zero == ZeroKind::coded_min) return nearest(-wanted.offset, units.minimum, (1 << spec_.zero_bits) - 1);
    const float low = -wanted.scale * static_cast<float>(wanted.zero),
                width = units.scale * static_cast<float>(scale_steps(scale_code));
    return nearest(-low, width, top_);
  };
  LineCodes best{scale, zero_near(scale)};
  loss = loss_with(best);
  if (clip_ == Clip::none) return best;
  const int reach = spec_.groups.scale_bits > kFewBits ? 0 : 1, zero_reach = spec_.zero == ZeroKind::constant ? 0 : 1,
            zero_top = spec_.zero == ZeroKind::constant ? spec_.zero_offset : (1 << spec_.zero_bits) - 1;
  for (int s = std::max(0, scale - reach); s <= std::min(most, scale + reach); ++s) {
    if (scale_steps(s) == 0) continue;
    const int around = zero_near(s);
    for (int z = std::max(0, around - zero_reach); z <= std::min(zero_top, around + zero_reach); ++z) {
      const float now = loss_with({s, z});
      if (now < loss) loss = now, best = {s, z};
    }
  }
  return best;
}

void IntGrid::fit_coded(std::int64_t row, std::span<const float> values, std::span<const float> importance) {
  const int offset = spec_.groups.scale_offset, most = offset > 0 ? offset : (1 << spec_.groups.scale_bits) - 1;
  const bool minima = spec_.zero == ZeroKind::coded_min;
  const bool search = clip_ == Clip::mse && spec_.groups.scale_bits <= kFewBits;
  std::vector<Choice> wanted;
  std::vector<LineCodes> codes, best;
  for (std::int64_t super = 0; super < supers_; ++super) {
    const std::int64_t first = super * spec_.groups.super, last = std::min(groups_, first + spec_.groups.super);
    wanted.clear();
    float largest = 0, lowest = 0, highest = 0;
    for (std::int64_t g = first; g < last; ++g) {
      wanted.push_back(choose(part_of(values, g), part_of(importance, g)));
      largest = std::max(largest, wanted.back().scale);
      lowest = std::min(lowest, wanted.back().offset);
      highest = std::max(highest, wanted.back().offset);
    }
    // Minima of both signs share one unit; the deeper side decides its sign.
    const float deepest = -lowest >= highest ? -lowest : -highest;
    const float unit = largest / static_cast<float>(most),
                unit_min = minima ? deepest / static_cast<float>((1 << spec_.zero_bits) - 1) : 0.0f;
    Units chosen;
    float least = HUGE_VALF;
    for (const float shrink : kUnits)
      for (const float shrink_min : kUnits) {
        if (!search && (shrink != 1.0f || shrink_min != 1.0f)) continue;
        if (!minima && shrink_min != 1.0f) continue;
        const Units units{as_f16(unit * shrink), as_f16(unit_min * shrink_min)};
        codes.clear();
        float total = 0;
        for (std::int64_t g = first; g < last; ++g) {
          float loss = 0;
          codes.push_back(choose_codes(part_of(values, g), part_of(importance, g),
                                       wanted[static_cast<std::size_t>(g - first)], units, loss));
          total += loss;
        }
        if (!(total < least) && !best.empty()) continue;
        least = total;
        best = codes;
        chosen = units;
      }
    const auto at = static_cast<std::size_t>(row * supers_ + super);
    parts_.scale_super[at] = f32_to_f16(offset > 0 ? -chosen.scale : chosen.scale);
    if (minima) parts_.zero_super[at] = f32_to_f16(chosen.minimum);
    for (std::int64_t g = first; g < last; ++g) set_line_codes(row, g, best[static_cast<std::size_t>(g - first)]);
    best.clear();
  }
}

}  // namespace sparing::math
