#pragma once
// What calibration gathers at a site.

#include <cstdint>
#include <span>

namespace sparing {

namespace math {
class MetricCache;
}

/// Sums over the calibration tokens t, at one site: x_t its input in the model as coded so far, x0_t in the original
/// model; r_t and r0_t, likewise, what its output is added to (the residual stream), where it is added to anything.
struct Statistics {
  std::int64_t cols = 0;
  std::int64_t tokens = 0;
  std::span<const float> second_moment = {};  ///< sum x x', [cols, cols] row-major
  /// The damage that inputs bring with them: sum (x0 - x) x', [cols, cols]. Empty unless asked for.
  std::span<const float> input_damage = {};
  /// The damage that the output joins: sum (r0 - r) x', [rows, cols]. Empty unless asked for, or where there is none.
  std::span<const float> residual_damage = {};
  /// How much the predictions depend on each output: Sensitivity's (lab/sensitivity.h), [rows]. Empty unless asked for.
  std::span<const float> sensitivity = {};
  /// Keeps what is factored from second_moment for other codings of the same inputs (math::metric_of); null: nothing
  /// is.
  math::MetricCache* metrics = nullptr;
};

}  // namespace sparing
