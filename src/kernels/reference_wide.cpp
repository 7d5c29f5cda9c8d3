// q16.h, in scalars.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/reference.h"

namespace sparing::kernels::reference {

void quantise_wide(const float* x, std::int64_t tokens, std::int64_t x_stride, std::int64_t cols, std::int64_t tile,
                   Q16Block* out) {
  const std::int64_t first = tile * kTileTokens, last = std::min(tokens, first + kTileTokens);
  for (std::int64_t t = first; t < last; ++t) {
    const float* row = x + t * x_stride;
    const std::int64_t lane = t - first;
    std::uint32_t most = 0;
    for (std::int64_t c = 0; c < cols; ++c) most = std::max(most, std::bit_cast<std::uint32_t>(row[c]) & 0x7FFFFFFFu);
    const float amax = std::bit_cast<float>(most);
    float scale = 0, inverse = 0;
    if (!std::isfinite(amax)) {
      scale = std::numeric_limits<float>::quiet_NaN();
    } else if (amax >= 0x1p-100f) {
      scale = amax / 32512.0f;
      inverse = 1.0f / scale;
    }
    for (std::int64_t c = 0; c < cols; c += kWideInputs) {
      Q16Block& block = out[c / kWideInputs];
      for (int i = 0; i < 4; ++i) block.sum[i][lane] = 0;
      for (int i = 0; i < kWideInputs; ++i) {
        const bool some = c + i < cols && inverse != 0;
        const int code = some ? static_cast<int>(std::nearbyint(row[c + i] * inverse)) : 0;
        const int high = (code + 128) >> 8;
        block.high[lane][i] = static_cast<std::int8_t>(high);
        block.low[lane][i] = static_cast<std::int8_t>(code - 256 * high);
        block.sum[i / 16][lane] += code;
      }
    }
    out[0].scale[lane] = scale;
  }
}

void wide_panels(const IntWeight& w, const Q16Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
                 std::int64_t end, std::byte* scratch) {
  const IntGroupLayout& l = w.layout;
  auto* codes = reinterpret_cast<std::int16_t*>(scratch);
  const bool minima = w.spec.zero == ZeroKind::f16_min || w.spec.zero == ZeroKind::coded_min;
  const std::int64_t blocks = (w.cols + kWideInputs - 1) / kWideInputs, group_length = w.spec.groups.group;
  // Inputs up to which a segment may go that starts at c: pieces of a group, or what a block and a group share.
  const auto stop_of = [&](std::int64_t c) {
    const std::int64_t group_end = (c / group_length + 1) * group_length;
    const std::int64_t longest = 32 * kWideBlocksPerPiece;
    const std::int64_t piece_end = c + longest - (c % group_length) % longest;
    return std::min({w.cols, group_end, w.segments == SegmentKind::whole ? piece_end : (c / 32 + 1) * 32});
  };
  for (std::int64_t row = begin * kPanelRows; row < std::min(w.rows, end * kPanelRows); ++row) {
    read_row(w, row, codes);
    for (std::int64_t t = 0; t < tokens; ++t) {
      const Q16Block* xt = x + t / kTileTokens * blocks;
      const std::int64_t lane = t % kTileTokens;
      float acc = 0;
      for (std::int64_t c = 0; c < w.cols;) {
        GroupValues g = group_values(w.spec, l, w.blob, row, c / group_length);
        g.scale *= w.table_unit;
        const std::int32_t zero = w.table != nullptr ? 128 : g.zero;
        std::int32_t dot = 0, sum = 0;
        for (const std::int64_t stop = stop_of(c); c < stop; ++c) {
          const Q16Block& b = xt[c / kWideInputs];
          const std::int32_t code_x = 256 * b.high[lane][c % kWideInputs] + b.low[lane][c % kWideInputs];
          dot += (codes[c] - zero) * code_x;
          sum += code_x;
        }
        acc = std::fma(static_cast<float>(dot), g.scale, acc);
        if (minima) acc = std::fma(g.minimum, static_cast<float>(sum), acc);
      }
      store(out, t, row, acc * xt[0].scale[lane]);
    }
  }
}

}  // namespace sparing::kernels::reference
