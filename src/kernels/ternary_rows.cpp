#include "kernels/ternary_rows.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "codecs/planes.h"
#include "kernels/reference.h"
#include "tensor/half.h"

namespace sparing::kernels {
namespace {

/// Calls f(2 * input + (high ? 1 : 0)) for each weight of a row that is not zero, ascending.
template <class F>
void for_nonzero(const TernaryWeight& w, std::int64_t row, const F& f) {
  const std::uint32_t end = load_u32(w.blob + 4 * (row + 1));
  const std::byte* words = w.blob + w.layout.words;
  std::uint32_t at = 0;
  for (std::uint32_t i = load_u32(w.blob + 4 * row); i < end; ++i) {
    const std::uint64_t word = w.dictionary[load_u16(words + 2 * static_cast<std::uint64_t>(i))];
    for (std::uint64_t left = word & kTernaryCodes; left != 0; left &= left - 1)
      f(at + static_cast<std::uint32_t>(std::countr_zero(left)));
    at += 2 * static_cast<std::uint32_t>(ternary_length(word));
  }
}

}  // namespace

void ternary_panels(const TernaryWeight& w, const float* x, std::int64_t tokens, std::int64_t x_stride,
                    const Output& out, std::int64_t begin, std::int64_t end, std::byte* scratch) {
  auto* const listed = reinterpret_cast<std::uint32_t*>(scratch);
  for (std::int64_t row = begin * kPanelRows; row < std::min(w.rows, end * kPanelRows); ++row) {
    const float low = f16_to_f32(load_u16(w.blob + w.layout.levels + 4 * row)),
                high = f16_to_f32(load_u16(w.blob + w.layout.levels + 4 * row + 2));
    const auto finish = [&](std::int64_t token, const float* sums) {
      reference::store(out, token, row, std::fma(high, sums[1], low * sums[0]));
    };
    if (tokens == 1) {
      float sums[2] = {};
      for_nonzero(w, row, [&](std::uint32_t place) { sums[place & 1u] += x[place >> 1]; });
      finish(0, sums);
      continue;
    }
    std::int64_t count = 0;
    for_nonzero(w, row, [&](std::uint32_t place) { listed[count++] = place; });
    for (std::int64_t t = 0; t < tokens; ++t) {
      float sums[2] = {};
      const float* const xt = x + t * x_stride;
      for (std::int64_t i = 0; i < count; ++i) sums[listed[i] & 1u] += xt[listed[i] >> 1];
      finish(t, sums);
    }
  }
}

}  // namespace sparing::kernels
