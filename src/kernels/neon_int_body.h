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

inline std::int32_t sum_of(const std::int8_t* codes, int count) {
  std::int32_t sum = 0;
  int i = 0;
  for (; i + 16 <= count; i += 16) sum += vaddlvq_s8(vld1q_s8(codes + i));
  for (; i < count; ++i) sum += codes[i];
  return sum;
}

/// A group's sums so far (q8.h), and those of the groups before it: TOKENS tokens x 8 rows.
template <int TOKENS>
struct Sums {
  float32x4_t acc[2 * TOKENS], part[2 * TOKENS];
  float total[TOKENS];

  inline void clear_group() {
    SPARING_UNROLL
    for (int i = 0; i < 2 * TOKENS; ++i) part[i] = vdupq_n_f32(0);
    SPARING_UNROLL
    for (int t = 0; t < TOKENS; ++t) total[t] = 0;
  }
  inline void clear() {
    clear_group();
    SPARING_UNROLL
    for (int i = 0; i < 2 * TOKENS; ++i) acc[i] = vdupq_n_f32(0);
  }
  /// Quads [first, stop) of a block, x's sums of them in scaled_sum[sum]; sum < 0: summed here. `bias`: what the codes
  /// are less by.
  inline void add(const std::byte* codes, const Q8Block& x, int token, int first, int stop, int sum,
                  std::int32_t bias) {
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
      std::int32_t exact = 0;
      if (sum < 0 || bias != 0) exact = sum_of(x.codes[token + t] + 4 * first, 4 * (stop - first));
      total[t] = total[t] + (sum < 0 ? static_cast<float>(exact) * xs : x.scaled_sum[sum][token + t]);
      SPARING_UNROLL
      for (int h = 0; h < 2; ++h) {
        const int32x4_t dot = vaddq_s32(dots[2 * t + h].rows(), vdupq_n_s32(bias * exact));
        part[2 * t + h] = vfmaq_n_f32(part[2 * t + h], vcvtq_f32_s32(dot), xs);
      }
    }
  }
  /// `rows` is 0 or 8.
  template <bool MINIMA>
  inline void end_group(const Panel& panel, std::int64_t group, int rows) {
    SPARING_UNROLL
    for (int h = 0; h < 2; ++h) {
      const std::int64_t at = rows + 4 * h, other = panel.groups.step * group + at;
      const float32x4_t scale = vld1q_f32(panel.groups.scale + 16 * group + at);
      float32x4_t second;
      if constexpr (MINIMA) {
        second = vld1q_f32(panel.groups.minimum + other);
      } else {
        second = vcvtq_f32_s32(vaddq_s32(vld1q_s32(panel.groups.zero + other), vdupq_n_s32(panel.bias)));
      }
      SPARING_UNROLL
      for (int t = 0; t < TOKENS; ++t) {
        float32x4_t sum = part[2 * t + h];
        float32x4_t& a = acc[2 * t + h];
        if constexpr (!MINIMA) sum = vfmsq_n_f32(sum, second, total[t]);
        a = vfmaq_f32(a, sum, scale);
        if constexpr (MINIMA) a = vfmaq_n_f32(a, second, total[t]);
      }
    }
    clear_group();
  }
};

template <int TOKENS, Cut CUT, bool MINIMA>
inline void tile(const IntWeight& w, const Panel& panel, const Q8Block* x, int token, int rows, Sums<TOKENS>& sums) {
  sums.clear();
  const std::int64_t blocks = w.layout.blocks;
  std::int64_t group = 0;
  std::int32_t left = w.blocks_per_group;
  for (std::int64_t b = 0; b < blocks; ++b) {
    const std::byte* codes = panel.codes + 512 * b + 4 * rows;
    if constexpr (CUT == Cut::whole) {
      sums.add(codes, x[b], token, 0, 8, 0, panel.bias);
      if (--left == 0 || b + 1 == blocks) {
        sums.template end_group<MINIMA>(panel, group++, rows);
        left = w.blocks_per_group;
      }
    } else if constexpr (CUT == Cut::half) {
      for (int s = 0; s < 2 && group < w.layout.groups; ++s) {
        sums.add(codes, x[b], token, 4 * s, 4 * s + 4, 1 + s, panel.bias);
        sums.template end_group<MINIMA>(panel, group++, rows);
      }
    } else {
      for (std::int32_t i = w.segment_starts[b]; i < w.segment_starts[b + 1]; ++i) {
        const Segment& s = w.segment_list[i];
        if (s.group != group) sums.template end_group<MINIMA>(panel, group++, rows);
        sums.add(codes, x[b], token, s.first, s.last, -1, panel.bias);
      }
    }
  }
  if constexpr (CUT == Cut::quads) sums.template end_group<MINIMA>(panel, group, rows);
}

template <int TOKENS, Cut CUT, bool MINIMA>
void run_tile(const IntWeight& w, const Panel& panel, std::int64_t row, const Q8Block* x, std::int64_t token,
              const Output& out) {
  for (int rows = 0; rows < 16 && row + rows < w.rows; rows += 8) {
    Sums<TOKENS> sums;
    tile<TOKENS, CUT, MINIMA>(w, panel, x, static_cast<int>(token % kTileTokens), rows, sums);
    const std::int64_t first = row + rows, count = w.rows - first < 8 ? w.rows - first : 8;
    for (int t = 0; t < TOKENS; ++t) {
      float held[8];
      vst1q_f32(held, sums.acc[2 * t]);
      vst1q_f32(held + 4, sums.acc[2 * t + 1]);
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
