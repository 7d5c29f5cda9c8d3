#pragma once
// What calibration gathers at a site.

#include <cstdint>
#include <span>

namespace sparing {

/// Second moments of a site's inputs over the calibration tokens. H = sum_t x_t x_t', [cols, cols] row-major.
struct Statistics {
  std::int64_t cols = 0;
  std::int64_t tokens = 0;
  std::span<const float> second_moment;
};

}  // namespace sparing
