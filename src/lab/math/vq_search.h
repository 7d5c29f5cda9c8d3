#pragma once
// The nearest sum of entries to a vector, in a metric of that vector's own.

#include <cstdint>
#include <vector>

#include "lab/math/vq_grid.h"

namespace sparing::math {

/// A grid's books as a linear map M of one vector sees them: distances are |y - entry M|^2.
class VqSearch {
 public:
  /// map [width, width] row-major; entries are rows, so an entry c becomes c M. The grid's books as last frozen.
  VqSearch(const VqGrid& grid, const float* map, std::int64_t width);
  /// The codes [books] of the least |y - sum M|^2 that is found, y [width] in the image of M. Exact for one book. For
  /// two, `beam` entries of the first are tried with the best of the second each, then the first again for that second.
  /// Returns the distance less |y|^2.
  float find(const float* y, int beam, std::uint8_t* codes) const;
  /// The same distance for given codes.
  float distance(const float* y, const std::uint8_t* codes) const;

 private:
  const float* columns(std::int64_t book) const { return columns_.data() + book * width_ * padded_; }
  const float* norms(std::int64_t book) const { return norms_.data() + book * padded_; }
  std::int64_t nearest(std::int64_t book, const float* norms, const float* y, float* least) const;
  void subtract(std::int64_t book, std::int64_t code, const float* y, float* rest) const;

  std::int64_t width_, padded_, books_;
  std::vector<float> columns_, norms_;
};

}  // namespace sparing::math
