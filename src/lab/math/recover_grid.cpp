#include "lab/math/recover_grid.h"

#include <algorithm>
#include <cmath>

#include "tensor/half.h"

namespace sparing::math {
namespace {

/// An interval of reals; empty where low > high.
struct Interval {
  double low, high;
};

/// Half the distance to the neighbours of a value: what rounding to the precision can have taken or added.
double half_step(Precision precision, float value) {
  if (value == 0.0f) return precision == Precision::f16 ? 0x1p-25 : 0.0;
  const int bits = precision == Precision::f16    ? 10
                   : precision == Precision::bf16 ? 7
                                                  : 23,
            least = precision == Precision::f16 ? -14 : -126;
  return std::ldexp(0.5, std::max(std::ilogb(value), least) - bits);
}

/// f16 values inside an interval, those nearest its middle first, at most `most`.
std::vector<float> halves_within(Interval interval, std::size_t most) {
  std::vector<float> found;
  if (!(interval.low <= interval.high)) return found;
  const double middle = (interval.low + interval.high) / 2;
  const std::uint16_t start = f32_to_f16(static_cast<float>(middle));
  const auto offer = [&](std::uint16_t bits) {
    const double value = f16_to_f32(bits);
    const bool inside = std::isfinite(value) && value >= interval.low && value <= interval.high;
    if (inside) found.push_back(static_cast<float>(value));
    return inside;
  };
  offer(start);
  // Neighbouring bit patterns are neighbouring magnitudes.
  bool up = (start & 0x7FFFu)<0x7C00u, down = (start & 0x7FFFu)> 0;
  for (std::uint16_t d = 1; (up || down) && found.size() < most; ++d) {
    if (up) up = static_cast<std::uint16_t>((start & 0x7FFFu) + d) < 0x7C00u;
    if (down) down = (start & 0x7FFFu) >= d;
    if (up && !offer(static_cast<std::uint16_t>(start + d)) && d > 1) up = false;
    if (down && found.size() < most && !offer(static_cast<std::uint16_t>(start - d)) && d > 1) down = false;
  }
  return found;
}

// As many scales and minima as are tried for one assignment of steps.
constexpr std::size_t kScales = 16, kMinima = 3;

class Recovery {
 public:
  Recovery(std::span<const float> values, Precision precision, Anchor anchor)
      : values_(values), precision_(precision), anchor_(anchor) {
    slack_.reserve(values.size());
    // The product and the sum that decode a code are rounded to f32 each.
    for (const float v : values) slack_.push_back(half_step(precision, v) + 2 * half_step(Precision::f32, v));
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    low_ = static_cast<std::size_t>(low - values.begin());
    high_ = static_cast<std::size_t>(high - values.begin());
    for (const float v : values) largest_slack_ = std::max(largest_slack_, half_step(Precision::f32, v) * 2);
    group_.steps.resize(values.size());
  }

  std::optional<RecoveredGroup> run(std::int32_t levels) {
    if (values_[low_] == values_[high_]) return constant();
    if (anchor_ == Anchor::minimum) {
      for (std::int32_t span = 1; span < levels; ++span)
        if (spread(span, levels)) return group_;
      return std::nullopt;
    }
    for (std::int32_t k = 1; k <= levels; ++k)
      if (multiples(k, levels)) return group_;
    return std::nullopt;
  }

 private:
  /// All values alike: one step of themselves, or the minimum alone.
  std::optional<RecoveredGroup> constant() {
    const float value = values_[0];
    const bool minimum = anchor_ == Anchor::minimum;
    const float half = f16_to_f32(f32_to_f16(value));
    if (!std::isfinite(half) || rounded_to(precision_, half) != value) return std::nullopt;
    group_.low = group_.high = minimum || half == 0.0f ? 0 : half > 0 ? 1 : -1;
    group_.minimum = minimum ? half : 0.0f;
    group_.scale = minimum ? 0.0f : std::abs(half);
    std::ranges::fill(group_.steps, group_.low);
    return group_;
  }

  /// Steps for a grid through `origin` with this distance; false where some value lies off it.
  bool assign(double origin, double step, double origin_slack, double step_slack) {
    for (std::size_t i = 0; i < values_.size(); ++i) {
      const double along = (values_[i] - origin) / step, nearest = std::nearbyint(along);
      const double allowed = slack_[i] + origin_slack + std::abs(nearest) * step_slack;
      if (std::abs(along - nearest) * step > allowed || 2 * allowed >= step) return false;
      group_.steps[i] = static_cast<std::int32_t>(nearest);
    }
    const auto [low, high] = std::minmax_element(group_.steps.begin(), group_.steps.end());
    group_.low = *low;
    group_.high = *high;
    return true;
  }

  bool spread(std::int32_t span, std::int32_t levels) {
    const double origin = values_[low_], ends = slack_[low_] + slack_[high_],
                 step = (static_cast<double>(values_[high_]) - origin) / span;
    if (!assign(origin, step, slack_[low_], ends / span)) return false;
    const Interval scales{step - ends / span, step + ends / span};
    // The least value need not have had code 0.
    for (std::int32_t first = 0; first + span < levels; ++first) {
      if (first > 0) {
        for (std::int32_t& s : group_.steps) ++s;
        ++group_.low;
        ++group_.high;
      }
      for (const float scale : halves_within(scales, kScales)) {
        if (scale == 0.0f) continue;
        Interval minima{-HUGE_VAL, HUGE_VAL};
        for (std::size_t i = 0; i < values_.size(); ++i) {
          const double rest = values_[i] - static_cast<double>(scale) * group_.steps[i],
                       slack = slack_[i] + largest_slack_;
          minima = {std::max(minima.low, rest - slack), std::min(minima.high, rest + slack)};
        }
        for (const float minimum : halves_within(minima, kMinima))
          if (decodes(scale, minimum)) return true;
      }
    }
    return false;
  }

  bool multiples(std::int32_t k, std::int32_t levels) {
    const std::size_t far = std::abs(values_[low_]) > std::abs(values_[high_]) ? low_ : high_;
    const double step = std::abs(static_cast<double>(values_[far])) / k;
    if (!assign(0, step, 0, slack_[far] / k) || group_.high - group_.low >= levels) return false;
    Interval scales{0, HUGE_VAL};
    for (std::size_t i = 0; i < values_.size(); ++i) {
      if (group_.steps[i] == 0) continue;
      const double steps = std::abs(group_.steps[i]), size = std::abs(static_cast<double>(values_[i]));
      scales = {std::max(scales.low, (size - slack_[i]) / steps), std::min(scales.high, (size + slack_[i]) / steps)};
    }
    for (const float scale : halves_within(scales, kScales))
      if (scale != 0.0f && decodes(scale, 0)) return true;
    return false;
  }

  /// As the codec computes: product and sum rounded on their own.
  bool decodes(float scale, float minimum) {
    for (std::size_t i = 0; i < values_.size(); ++i) {
      const float product = scale * static_cast<float>(group_.steps[i]);
      if (rounded_to(precision_, anchor_ == Anchor::minimum ? product + minimum : product) != values_[i]) return false;
    }
    group_.scale = scale;
    group_.minimum = minimum;
    return true;
  }

  std::span<const float> values_;
  Precision precision_;
  Anchor anchor_;
  std::vector<double> slack_;
  double largest_slack_ = 0;
  std::size_t low_ = 0, high_ = 0;
  RecoveredGroup group_;
};

}  // namespace

float rounded_to(Precision precision, float value) {
  if (precision == Precision::f16) return f16_to_f32(f32_to_f16(value));
  return precision == Precision::bf16 ? bf16_to_f32(f32_to_bf16(value)) : value;
}

Precision precision_of(std::span<const float> values) {
  for (const Precision precision : {Precision::f16, Precision::bf16})
    if (std::ranges::all_of(values, [&](float v) { return rounded_to(precision, v) == v; })) return precision;
  return Precision::f32;
}

std::optional<RecoveredGroup> recover_group(std::span<const float> values, Precision precision, Anchor anchor,
                                            std::int32_t levels) {
  return Recovery(values, precision, anchor).run(levels);
}

}  // namespace sparing::math
