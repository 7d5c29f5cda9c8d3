#pragma once
// int8 activations (q8.h): a panel is unpacked to bytes in cache, then tiles of 8 rows x 4 tokens run over it. Compiled
// twice, with and without SDOT (neon_dot.h). Internal linkage.

#include "kernels/neon.h"
#include "kernels/neon_dot.h"
#include "kernels/reference.h"

namespace sparing::kernels {
namespace {

enum class Cut { whole, half, quads };

struct Panel {
  const std::byte* codes;
  Groups groups;
  std::int32_t bias;
};

/// Quads [first, stop) of a block for TOKENS tokens x 8 rows. `group` counts in 16 values, `rows` is 0 or 8.
template <int TOKENS, Cut CUT, bool MINIMA>
inline void segment(const Panel& panel, const std::byte* codes, const Q8Block& x, int token, int first, int stop,
                    int sum, std::int64_t group, int rows, float32x4_t (&acc)[2 * TOKENS]) {
  Dot dots[2 * TOKENS];
  for (int q = first; q < stop; ++q) {
    const int8x16_t low = load_quad(codes + 64 * q), high = load_quad(codes + 64 * q + 16);
    SPARING_UNROLL
    for (int t = 0; t < TOKENS; ++t) {
      const int8x16_t xq = broadcast_quad(x.codes[token + t] + 4 * q);
      dots[2 * t].add(low, xq);
      dots[2 * t + 1].add(high, xq);
    }
  }
  SPARING_UNROLL
  for (int t = 0; t < TOKENS; ++t) {
    const float xs = x.scale[token + t];
    auto total = static_cast<std::int32_t>(x.sum[sum][token + t]);
    float scaled = x.scaled_sum[sum][token + t];
    if constexpr (CUT == Cut::quads) {
      total = 0;
      for (int i = 4 * first; i < 4 * stop; ++i) total += x.codes[token + t][i];
      scaled = static_cast<float>(total) * xs;
    }
    SPARING_UNROLL
    for (int h = 0; h < 2; ++h) {
      float32x4_t& a = acc[2 * t + h];
      int32x4_t dot = dots[2 * t + h].rows();
      if constexpr (MINIMA) {
        dot = vaddq_s32(dot, vdupq_n_s32(panel.bias * total));
      } else {
        dot = vmlsq_n_s32(dot, vld1q_s32(panel.groups.zero + panel.groups.step * group + rows + 4 * h), total);
      }
      const float32x4_t scale = vld1q_f32(panel.groups.scale + 16 * group + rows + 4 * h);
      a = vfmaq_f32(a, vcvtq_f32_s32(dot), vmulq_n_f32(scale, xs));
      if constexpr (MINIMA)
        a = vfmaq_n_f32(a, vld1q_f32(panel.groups.minimum + panel.groups.step * group + rows + 4 * h), scaled);
    }
  }
}

template <int TOKENS, Cut CUT, bool MINIMA>
inline void tile(const IntWeight& w, const Panel& panel, const Q8Block* x, int token, int rows,
                 float32x4_t (&acc)[2 * TOKENS]) {
  SPARING_UNROLL
  for (int i = 0; i < 2 * TOKENS; ++i) acc[i] = vdupq_n_f32(0);
  std::int64_t group = 0;
  std::int32_t left = w.blocks_per_group;
  for (std::int64_t b = 0; b < w.layout.blocks; ++b) {
    const std::byte* codes = panel.codes + 512 * b + 4 * rows;
    if constexpr (CUT == Cut::whole) {
      segment<TOKENS, CUT, MINIMA>(panel, codes, x[b], token, 0, 8, 0, group, rows, acc);
      if (--left == 0) {
        ++group;
        left = w.blocks_per_group;
      }
    } else if constexpr (CUT == Cut::half) {
      for (int s = 0; s < 2; ++s, ++group)
        segment<TOKENS, CUT, MINIMA>(panel, codes, x[b], token, 4 * s, 4 * s + 4, 1 + s, group, rows, acc);
    } else {
      for (std::int32_t i = w.segment_starts[b]; i < w.segment_starts[b + 1]; ++i) {
        const Segment& s = w.segment_list[i];
        segment<TOKENS, CUT, MINIMA>(panel, codes, x[b], token, s.first, s.last, 0, s.group, rows, acc);
      }
    }
  }
}

template <int TOKENS, Cut CUT, bool MINIMA>
void run_tile(const IntWeight& w, const Panel& panel, std::int64_t row, const Q8Block* x, std::int64_t token,
              const Output& out) {
  for (int rows = 0; rows < 16 && row + rows < w.rows; rows += 8) {
    float32x4_t acc[2 * TOKENS];
    tile<TOKENS, CUT, MINIMA>(w, panel, x, static_cast<int>(token % kTileTokens), rows, acc);
    const std::int64_t first = row + rows, count = w.rows - first < 8 ? w.rows - first : 8;
    for (int t = 0; t < TOKENS; ++t) {
      float held[8];
      vst1q_f32(held, acc[2 * t]);
      vst1q_f32(held + 4, acc[2 * t + 1]);
      store_rows(out, token + t, first, count, held);
    }
  }
}

template <Cut CUT, bool MINIMA>
void panels(const IntWeight& w, const Q8Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
            std::int64_t end, std::byte* scratch) {
  std::byte* codes = scratch;
  scratch += w.layout.blocks * 512;
  const Panel panel{codes, take_groups(w, scratch), code_bias(w)};
  for (std::int64_t p = begin; p < end; ++p) {
    neon::unpack_panel(w, p, codes);
    decode_groups(w, p, panel.groups);
    for (std::int64_t t = 0; t < tokens;) {
      const Q8Block* xt = x + t / kTileTokens * w.layout.blocks;
      if (tokens - t >= 4) {
        run_tile<4, CUT, MINIMA>(w, panel, p * 16, xt, t, out);
        t += 4;
      } else {
        run_tile<1, CUT, MINIMA>(w, panel, p * 16, xt, t, out);
        t += 1;
      }
    }
  }
}

template <bool MINIMA>
void choose(const IntWeight& w, const Q8Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
            std::int64_t end, std::byte* scratch) {
  if (w.segments == SegmentKind::whole) return panels<Cut::whole, MINIMA>(w, x, tokens, out, begin, end, scratch);
  if (w.segments == SegmentKind::half) return panels<Cut::half, MINIMA>(w, x, tokens, out, begin, end, scratch);
  panels<Cut::quads, MINIMA>(w, x, tokens, out, begin, end, scratch);
}

inline void all_panels(const IntWeight& w, const Q8Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
                       std::int64_t end, std::byte* scratch) {
  if (w.segments == SegmentKind::ragged) return reference::int_panels(w, x, tokens, out, begin, end, scratch);
  has_minima(w) ? choose<true>(w, x, tokens, out, begin, end, scratch)
                : choose<false>(w, x, tokens, out, begin, end, scratch);
}

}  // namespace
}  // namespace sparing::kernels
