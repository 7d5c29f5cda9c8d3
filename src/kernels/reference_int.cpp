// q8.h, in scalars.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "codecs/planes.h"
#include "kernels/reference.h"

namespace sparing::kernels::reference {
namespace {

void quantise_block(const float* x, int inputs, int token, Q8Block& out) {
  std::uint32_t most = 0;
  for (int i = 0; i < inputs; ++i) most = std::max(most, std::bit_cast<std::uint32_t>(x[i]) & 0x7FFFFFFFu);
  const float amax = std::bit_cast<float>(most);
  std::int8_t* codes = out.codes[token];
  std::memset(codes, 0, 32);
  float scale = 0;
  if (!std::isfinite(amax)) {
    scale = std::numeric_limits<float>::quiet_NaN();
  } else if (amax >= 0x1p-100f) {
    scale = amax / 127.0f;
    const float inverse = 1.0f / scale;
    for (int i = 0; i < inputs; ++i) codes[i] = static_cast<std::int8_t>(std::nearbyint(x[i] * inverse));
  }
  std::int32_t halves[2] = {};
  for (int i = 0; i < 32; ++i) halves[i / 16] += codes[i];
  const std::int32_t sums[3] = {halves[0] + halves[1], halves[0], halves[1]};
  out.scale[token] = scale;
  for (int i = 0; i < 3; ++i) out.scaled_sum[i][token] = static_cast<float>(sums[i]) * scale;
}

}  // namespace

void quantise(const float* x, std::int64_t tokens, std::int64_t x_stride, std::int64_t cols, std::int64_t tile,
              Q8Block* out) {
  const std::int64_t first = tile * kTileTokens, last = std::min(tokens, first + kTileTokens);
  for (std::int64_t t = first; t < last; ++t)
    for (std::int64_t c = 0; c < cols; c += 32)
      quantise_block(x + t * x_stride + c, static_cast<int>(std::min<std::int64_t>(32, cols - c)),
                     static_cast<int>(t - first), out[c / 32]);
}

void int_panels(const IntWeight& w, const Q8Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
                std::int64_t end, std::byte* scratch) {
  const IntGroupLayout& l = w.layout;
  const Planes planes(w.spec.bits);
  auto* codes = reinterpret_cast<std::uint8_t*>(scratch);
  const bool minima = w.spec.zero == ZeroKind::f16_min || w.spec.zero == ZeroKind::coded_min;
  for (std::int64_t row = begin * kPanelRows; row < std::min(w.rows, end * kPanelRows); ++row) {
    const std::byte* panel = w.blob + l.codes + row / kPanelRows * l.blocks * l.block_bytes;
    for (std::int64_t q = 0; q < l.blocks * 8; ++q) {
      const std::uint32_t quad =
          read_quad(panel + q / 8 * l.block_bytes, planes, static_cast<int>(row % kPanelRows), static_cast<int>(q % 8));
      std::memcpy(codes + 4 * q, &quad, 4);
    }
    for (std::int64_t t = 0; t < tokens; ++t) {
      const Q8Block* xt = x + t / kTileTokens * l.blocks;
      const std::int64_t lane = t % kTileTokens;
      float acc = 0;
      for (std::int64_t c = 0, group = 0; c < w.cols; ++group) {
        const GroupValues g = group_values(w.spec, l, w.blob, row, group);
        const auto zero = static_cast<float>(w.table != nullptr ? 128 : g.zero);
        const std::int64_t end_of_group = std::min<std::int64_t>(w.cols, (group + 1) * w.spec.groups.group);
        float part = 0, total = 0;
        while (c < end_of_group) {
          const std::int64_t block = c / 32, stop = std::min(end_of_group, (block + 1) * 32);
          std::int32_t dot = 0, sum = 0;
          for (; c < stop; ++c) {
            const std::int32_t code_x = xt[block].codes[lane][c % 32];
            dot += (w.table != nullptr ? w.table[codes[c]] : codes[c]) * code_x;
            sum += code_x;
          }
          const float scale_x = xt[block].scale[lane];
          part = std::fma(static_cast<float>(dot), scale_x, part);
          total = total + static_cast<float>(sum) * scale_x;
        }
        if (!minima) part = std::fma(-zero, total, part);
        acc = std::fma(part, g.scale, acc);
        if (minima) acc = std::fma(g.minimum, total, acc);
      }
      store(out, t, row, acc);
    }
  }
}

}  // namespace sparing::kernels::reference
