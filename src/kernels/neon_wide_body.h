#pragma once
// int16 activations (q16.h): their high and low bytes are two int8 products, joined in integers once a segment.
// Compiled twice, with and without SDOT (neon_dot.h). Internal linkage.

#include "kernels/neon.h"
#include "kernels/neon_dot.h"
#include "kernels/reference.h"

namespace sparing::kernels {
namespace {

struct WidePanel {
  const std::byte* codes;
  Groups groups;
  std::int32_t bias;
};

/// Exact sums of a segment, for 8 rows of TOKENS tokens.
template <int TOKENS>
struct WideSums {
  Dot high[2 * TOKENS], low[2 * TOKENS];
  std::int32_t x[TOKENS] = {};
};

/// Quads [first, last) of a block of 32 inputs.
template <int TOKENS>
inline void add_block(WideSums<TOKENS>& sums, const std::byte* codes, const Q16Block& x, int offset, int token,
                      int first, int last) {
  for (int q = first; q < last; ++q) {
    const int8x16_t w0 = load_quad(codes + 64 * q), w1 = load_quad(codes + 64 * q + 16);
    SPARING_UNROLL
    for (int t = 0; t < TOKENS; ++t) {
      const int8x16_t high = broadcast_quad(x.high[token + t] + offset + 4 * q);
      const int8x16_t low = broadcast_quad(x.low[token + t] + offset + 4 * q);
      sums.high[2 * t].add(w0, high);
      sums.high[2 * t + 1].add(w1, high);
      sums.low[2 * t].add(w0, low);
      sums.low[2 * t + 1].add(w1, low);
    }
  }
  for (int t = 0; t < TOKENS; ++t) {
    const int lane = token + t;
    if (first % 4 == 0 && last % 4 == 0) {
      for (int i = first / 4; i < last / 4; ++i) sums.x[t] += x.sum[offset / 16 + i][lane];
    } else {
      for (int i = offset + 4 * first; i < offset + 4 * last; ++i) sums.x[t] += 256 * x.high[lane][i] + x.low[lane][i];
    }
  }
}

/// Ends a segment of `group` (counted in 16 values) for rows `rows` to `rows` + 7.
template <int TOKENS, bool MINIMA>
inline void finish(const WidePanel& panel, WideSums<TOKENS>& sums, std::int64_t group, int rows,
                   float32x4_t (&acc)[2 * TOKENS]) {
  SPARING_UNROLL
  for (int i = 0; i < 2 * TOKENS; ++i) {
    const std::int64_t at = rows + i % 2 * 4;
    const std::int32_t x = sums.x[i / 2];
    int32x4_t dot = vaddq_s32(vshlq_n_s32(sums.high[i].rows(), 8), sums.low[i].rows());
    if constexpr (MINIMA) {
      dot = vaddq_s32(dot, vdupq_n_s32(panel.bias * x));
    } else {
      dot = vmlsq_n_s32(dot, vld1q_s32(panel.groups.zero + panel.groups.step * group + at), x);
    }
    acc[i] = vfmaq_f32(acc[i], vcvtq_f32_s32(dot), vld1q_f32(panel.groups.scale + 16 * group + at));
    if constexpr (MINIMA)
      acc[i] =
          vfmaq_n_f32(acc[i], vld1q_f32(panel.groups.minimum + panel.groups.step * group + at), static_cast<float>(x));
  }
  sums = {};
}

/// 8 rows of TOKENS tokens, before the tokens' scales.
template <int TOKENS, bool MINIMA>
inline void wide_tile(const IntWeight& w, const WidePanel& panel, const Q16Block* x, int token, int rows,
                      float32x4_t (&acc)[2 * TOKENS]) {
  SPARING_UNROLL
  for (int i = 0; i < 2 * TOKENS; ++i) acc[i] = vdupq_n_f32(0);
  std::int64_t group = 0;
  std::int32_t in_group = 0, in_piece = 0;
  WideSums<TOKENS> sums;
  for (std::int64_t b = 0; b < w.layout.blocks; ++b) {
    const std::byte* codes = panel.codes + 512 * b + 4 * rows;
    const Q16Block& xb = x[b / 2];
    const int offset = 32 * static_cast<int>(b % 2);
    if (w.segments == SegmentKind::whole) {
      add_block<TOKENS>(sums, codes, xb, offset, token, 0, 8);
      const bool group_ends = ++in_group == w.blocks_per_group || b + 1 == w.layout.blocks;
      if (group_ends || ++in_piece == kWideBlocksPerPiece) {
        finish<TOKENS, MINIMA>(panel, sums, group, rows, acc);
        in_piece = 0;
      }
      if (group_ends) {
        ++group;
        in_group = 0;
      }
    } else if (w.segments == SegmentKind::half) {
      for (int s = 0; s < 2; ++s, ++group) {
        add_block<TOKENS>(sums, codes, xb, offset, token, 4 * s, 4 * s + 4);
        finish<TOKENS, MINIMA>(panel, sums, group, rows, acc);
      }
    } else {
      for (std::int32_t i = w.segment_starts[b]; i < w.segment_starts[b + 1]; ++i) {
        const Segment& s = w.segment_list[i];
        add_block<TOKENS>(sums, codes, xb, offset, token, s.first, s.last);
        finish<TOKENS, MINIMA>(panel, sums, s.group, rows, acc);
      }
    }
  }
}

template <int TOKENS, bool MINIMA>
void run_wide_tile(const IntWeight& w, const WidePanel& panel, std::int64_t row, const Q16Block* x, std::int64_t token,
                   const Output& out) {
  const int lane = static_cast<int>(token % kTileTokens);
  for (int rows = 0; rows < 16 && row + rows < w.rows; rows += 8) {
    float32x4_t acc[2 * TOKENS];
    wide_tile<TOKENS, MINIMA>(w, panel, x, lane, rows, acc);
    const std::int64_t first = row + rows, count = w.rows - first < 8 ? w.rows - first : 8;
    for (int t = 0; t < TOKENS; ++t) {
      float held[8];
      vst1q_f32(held, vmulq_n_f32(acc[2 * t], x[0].scale[lane + t]));
      vst1q_f32(held + 4, vmulq_n_f32(acc[2 * t + 1], x[0].scale[lane + t]));
      store_rows(out, token + t, first, count, held);
    }
  }
}

template <bool MINIMA>
void wide(const IntWeight& w, const Q16Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
          std::int64_t end, std::byte* scratch) {
  const std::int64_t blocks = (w.cols + kWideInputs - 1) / kWideInputs;
  std::byte* codes = scratch;
  scratch += w.layout.blocks * 512;
  const WidePanel panel{codes, take_groups(w, scratch), code_bias(w)};
  for (std::int64_t p = begin; p < end; ++p) {
    neon::unpack_panel(w, p, codes);
    decode_groups(w, p, panel.groups);
    for (std::int64_t t = 0; t < tokens;) {
      const Q16Block* xt = x + t / kTileTokens * blocks;
      if (tokens - t >= 2) {
        run_wide_tile<2, MINIMA>(w, panel, p * 16, xt, t, out);
        t += 2;
      } else {
        run_wide_tile<1, MINIMA>(w, panel, p * 16, xt, t, out);
        t += 1;
      }
    }
  }
}

inline void all_wide_panels(const IntWeight& w, const Q16Block* x, std::int64_t tokens, const Output& out,
                            std::int64_t begin, std::int64_t end, std::byte* scratch) {
  if (w.segments == SegmentKind::ragged) return reference::wide_panels(w, x, tokens, out, begin, end, scratch);
  has_minima(w) ? wide<true>(w, x, tokens, out, begin, end, scratch)
                : wide<false>(w, x, tokens, out, begin, end, scratch);
}

}  // namespace
}  // namespace sparing::kernels
