#include "lab/math/vq_search.h"

#include <algorithm>
#include <limits>

#include "lab/math/simd.h"

namespace sparing::math {

VqSearch::VqSearch(const VqGrid& grid, const float* map, std::int64_t width)
    : width_(width), padded_((grid.entries() + 15) / 16 * 16), books_(grid.spec().books) {
  columns_.assign(static_cast<std::size_t>(books_ * width * padded_), 0.0f);
  norms_.assign(static_cast<std::size_t>(books_ * padded_), std::numeric_limits<float>::infinity());
  for (std::int64_t b = 0; b < books_; ++b)
    for (std::int64_t e = 0; e < grid.entries(); ++e) {
      const float* const entry = grid.entry(b, e);
      float norm = 0;
      for (std::int64_t j = 0; j < width; ++j) {
        float sum = 0;
        for (std::int64_t i = 0; i < width; ++i) sum += entry[i] * map[i * width + j];
        columns_[static_cast<std::size_t>((b * width + j) * padded_ + e)] = sum;
        norm += sum * sum;
      }
      norms_[static_cast<std::size_t>(b * padded_ + e)] = norm;
    }
}

std::int64_t VqSearch::nearest(std::int64_t book, const float* norms, const float* y, float* least) const {
  float twice[8];
  for (std::int64_t j = 0; j < width_; ++j) twice[j] = -2.0f * y[j];
  return simd().nearest(padded_, width_, columns(book), norms, twice, least);
}

void VqSearch::subtract(std::int64_t book, std::int64_t code, const float* y, float* rest) const {
  for (std::int64_t j = 0; j < width_; ++j) rest[j] = y[j] - columns(book)[j * padded_ + code];
}

float VqSearch::distance(const float* y, const std::uint8_t* codes) const {
  float rest[8], size = 0, total = 0;
  std::copy_n(y, width_, rest);
  for (std::int64_t b = 0; b < books_; ++b) subtract(b, codes[b], rest, rest);
  for (std::int64_t j = 0; j < width_; ++j) {
    size += y[j] * y[j];
    total += rest[j] * rest[j];
  }
  return total - size;
}

float VqSearch::find(const float* y, int beam, std::uint8_t* codes) const {
  float least = 0, rest[8];
  if (books_ == 1) {
    codes[0] = static_cast<std::uint8_t>(nearest(0, norms(0), y, &least));
    return least;
  }
  float held[256];
  std::copy_n(norms(0), padded_, held);
  float best = std::numeric_limits<float>::infinity();
  for (int tried = 0; tried < beam; ++tried) {
    float first = 0, second = 0;
    const std::int64_t code = nearest(0, held, y, &first);
    if (held[code] == std::numeric_limits<float>::infinity()) break;
    held[code] = std::numeric_limits<float>::infinity();
    subtract(0, code, y, rest);
    const std::int64_t other = nearest(1, norms(1), rest, &second);
    if (!(first + second < best)) continue;
    best = first + second;
    codes[0] = static_cast<std::uint8_t>(code);
    codes[1] = static_cast<std::uint8_t>(other);
  }
  subtract(1, codes[1], y, rest);
  codes[0] = static_cast<std::uint8_t>(nearest(0, norms(0), rest, &least));
  return distance(y, codes);
}

}  // namespace sparing::math
