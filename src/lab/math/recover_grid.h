#pragma once
// Finds the affine grid that weights already lie on: the codes, scales and minima that they were once decoded from, or
// others that decode to the same weights.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "codecs/int_group.h"

namespace sparing::math {

/// What a weight's values are stored in where they come from: a grid is theirs if it gives them back in this precision.
enum class Precision { f16, bf16, f32 };
/// The coarsest that holds every value exactly, f16 before bf16.
Precision precision_of(std::span<const float> values);
/// The nearest value of that precision.
float rounded_to(Precision precision, float value);

/// What a group's grid may look like.
enum class Anchor {
  multiple,  ///< w = s * k, k any integer: codes with a constant or integer zero
  minimum,   ///< w = s * q + m, q >= 0
};

/// One group on its grid: value i is steps[i] * scale + minimum, rounded to the precision. scale and minimum are f16;
/// scale is positive, or zero where all values are alike.
struct RecoveredGroup {
  float scale = 0, minimum = 0;  ///< minimum: 0 for Anchor::multiple
  std::vector<std::int32_t> steps;
  std::int32_t low = 0, high = 0;  ///< least and largest of steps
};
/// The coarsest grid of at most `levels` points (and, Anchor::multiple, of steps within -levels .. levels) that gives
/// all values back; nothing where there is none. Values are finite.
std::optional<RecoveredGroup> recover_group(std::span<const float> values, Precision precision, Anchor anchor,
                                            std::int32_t levels);

}  // namespace sparing::math
