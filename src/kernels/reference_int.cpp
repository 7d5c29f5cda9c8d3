// q8.h, in scalars.

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "codecs/planes.h"
#include "kernels/reference.h"
#include "kernels/vq_expand.h"

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

void read_row(const IntWeight& w, std::int64_t row, std::int16_t* values) {
  const IntGroupLayout& l = w.layout;
  const std::int64_t lane = row % kPanelRows, panel = row / kPanelRows;
  if (const VqCodes& v = w.vq; v.entries != nullptr) {
    const std::byte* codes = w.blob + l.codes + panel * v.panel_bytes;
    const std::size_t book = static_cast<std::size_t>(v.vector) << v.bits;
    std::fill_n(values, l.blocks * 32, std::int16_t{128});
    for (std::int64_t q = 0; q < v.quads; ++q) {
      std::uint8_t held[64];
      const std::uint8_t* four = quad_codes(v, codes, q, held) + 4 * lane;
      const bool first = q % v.books == 0;
      for (std::int64_t i = 0; i < 4 * v.vector; ++i) {
        const std::size_t entry =
            four[i / v.vector] * static_cast<std::size_t>(v.vector) + static_cast<std::size_t>(i % v.vector);
        std::int16_t& value = values[q / v.books * 4 * v.vector + i];
        value = first ? static_cast<std::int16_t>(v.entries[entry])
                      : static_cast<std::int16_t>(value + static_cast<std::int8_t>(v.entries[book + entry]));
      }
    }
    return;
  }
  const Planes planes(w.spec.bits);
  const std::byte* codes = w.blob + l.codes + panel * l.blocks * l.block_bytes;
  for (std::int64_t q = 0; q < l.blocks * 8; ++q) {
    std::uint32_t quad =
        read_quad(codes + q / 8 * l.block_bytes, planes, static_cast<int>(lane), static_cast<int>(q % 8));
    for (int i = 0; i < 4; ++i, quad >>= 8) {
      const std::uint32_t code = quad & 0xFFu;
      values[4 * q + i] = static_cast<std::int16_t>(w.table != nullptr ? w.table[code] : code);
    }
  }
}

void int_panels(const IntWeight& w, const Q8Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
                std::int64_t end, std::byte* scratch) {
  const IntGroupLayout& l = w.layout;
  auto* codes = reinterpret_cast<std::int16_t*>(scratch);
  const bool minima = w.spec.zero == ZeroKind::f16_min || w.spec.zero == ZeroKind::coded_min;
  for (std::int64_t row = begin * kPanelRows; row < std::min(w.rows, end * kPanelRows); ++row) {
    read_row(w, row, codes);
    for (std::int64_t t = 0; t < tokens; ++t) {
      const Q8Block* xt = x + t / kTileTokens * l.blocks;
      const std::int64_t lane = t % kTileTokens;
      float acc = 0;
      for (std::int64_t c = 0, group = 0; c < w.cols; ++group) {
        GroupValues g = group_values(w.spec, l, w.blob, row, group);
        g.scale *= w.table_unit;
        const auto zero = static_cast<float>(w.table != nullptr ? 128 : g.zero);
        const std::int64_t end_of_group = std::min<std::int64_t>(w.cols, (group + 1) * w.spec.groups.group);
        float part = 0, total = 0;
        while (c < end_of_group) {
          const std::int64_t block = c / 32, stop = std::min(end_of_group, (block + 1) * 32);
          std::int32_t dot = 0, sum = 0;
          for (; c < stop; ++c) {
            const std::int32_t code_x = xt[block].codes[lane][c % 32];
            dot += codes[c] * code_x;
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
