// A panel is unpacked to bytes in cache, then tiles of 8 rows x 4 tokens run over it.

#include "kernels/avx2.h"
#include "kernels/avx2_common.h"
#include "kernels/reference.h"

namespace sparing::kernels::avx2 {
namespace {

enum class Cut { whole, half, quads };

struct Panel {
  const std::byte* codes;
  Groups groups;
};

/// A group's sums so far (q8.h), and those of the groups before it: 8 rows.
template <int TOKENS>
struct Sums {
  __m256 acc[TOKENS], part[TOKENS];
  float total[TOKENS];

  inline void clear_group() {
    SPARING_UNROLL
    for (int t = 0; t < TOKENS; ++t) {
      part[t] = _mm256_setzero_ps();
      total[t] = 0;
    }
  }
  inline void clear() {
    clear_group();
    SPARING_UNROLL
    for (int t = 0; t < TOKENS; ++t) acc[t] = _mm256_setzero_ps();
  }
  /// Quads [first, stop) of a block, x's sums of them in scaled_sum[sum]; sum < 0: summed here.
  template <int QUADS>
  inline void add(const std::byte* codes, const Q8Block& x, int token, int first, int stop, int sum) {
    SPARING_UNROLL
    for (int t = 0; t < TOKENS; ++t) {
      const std::int8_t* xt = x.codes[token + t];
      const float xs = x.scale[token + t];
      part[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot<QUADS>(codes, xt, first, stop)), _mm256_set1_ps(xs), part[t]);
      if (sum >= 0) {
        total[t] = total[t] + x.scaled_sum[sum][token + t];
      } else {
        std::int32_t exact = 0;
        for (int i = 4 * first; i < 4 * stop; ++i) exact += xt[i];
        total[t] = total[t] + static_cast<float>(exact) * xs;
      }
    }
  }
  template <bool MINIMA>
  inline void end_group(const float* scale, const float* second) {
    const __m256 s = _mm256_loadu_ps(scale), other = _mm256_loadu_ps(second);
    SPARING_UNROLL
    for (int t = 0; t < TOKENS; ++t) {
      const __m256 sum = _mm256_set1_ps(total[t]);
      if constexpr (!MINIMA) part[t] = _mm256_fnmadd_ps(other, sum, part[t]);
      acc[t] = _mm256_fmadd_ps(part[t], s, acc[t]);
      if constexpr (MINIMA) acc[t] = _mm256_fmadd_ps(other, sum, acc[t]);
    }
    clear_group();
  }
};

template <int TOKENS, int QUADS, Cut CUT, bool MINIMA>
void tile(const IntWeight& w, const Panel& panel, const Q8Block* x, int token, int half, Sums<TOKENS>& sums) {
  sums.clear();
  const std::int64_t blocks = w.layout.blocks;
  std::int64_t group = 0;
  std::int32_t left = w.blocks_per_group;
  const auto end_group = [&] {
    sums.template end_group<MINIMA>(panel.groups.scale + 8 * half + 16 * group,
                                    panel.groups.second + 8 * half + panel.groups.step * group);
    ++group;
  };
  for (std::int64_t b = 0; b < blocks; ++b) {
    const std::byte* codes = panel.codes + 512 * b + 32 * half;
    if constexpr (CUT == Cut::whole) {
      sums.template add<QUADS>(codes, x[b], token, 0, 8, 0);
      if (--left == 0 || b + 1 == blocks) {
        end_group();
        left = w.blocks_per_group;
      }
    } else if constexpr (CUT == Cut::half) {
      for (int s = 0; s < 2 && group < w.layout.groups; ++s) {
        sums.template add<QUADS>(codes, x[b], token, 4 * s, 4 * s + 4, 1 + s);
        end_group();
      }
    } else {
      for (std::int32_t i = w.segment_starts[b]; i < w.segment_starts[b + 1]; ++i) {
        const Segment& s = w.segment_list[i];
        if (s.group != group) end_group();
        sums.template add<QUADS>(codes, x[b], token, s.first, s.last, -1);
      }
    }
  }
  if constexpr (CUT == Cut::quads) end_group();
}

template <int TOKENS, int QUADS, Cut CUT, bool MINIMA>
void run_tile(const IntWeight& w, const Panel& panel, std::int64_t row, const Q8Block* x, std::int64_t token,
              const Output& out) {
  for (int half = 0; half < 2 && row + 8 * half < w.rows; ++half) {
    Sums<TOKENS> sums;
    tile<TOKENS, QUADS, CUT, MINIMA>(w, panel, x, static_cast<int>(token % kTileTokens), half, sums);
    const std::int64_t first = row + 8 * half, count = w.rows - first < 8 ? w.rows - first : 8;
    for (int t = 0; t < TOKENS; ++t) {
      float held[8];
      _mm256_storeu_ps(held, sums.acc[t]);
      store_rows(out, token + t, first, count, held);
    }
  }
}

template <int QUADS, Cut CUT, bool MINIMA>
void panels(const IntWeight& w, const Q8Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
            std::int64_t end, std::byte* scratch) {
  std::byte* codes = scratch;
  scratch += w.layout.blocks * 512;
  const Panel panel{codes, take_groups(w, scratch)};
  for (std::int64_t p = begin; p < end; ++p) {
    unpack_panel(w, p, codes);
    decode_groups(w, p, panel.groups);
    for (std::int64_t t = 0; t < tokens;) {
      const Q8Block* xt = x + t / kTileTokens * w.layout.blocks;
      if (tokens - t >= 4) {
        run_tile<4, QUADS, CUT, MINIMA>(w, panel, p * 16, xt, t, out);
        t += 4;
      } else {
        run_tile<1, QUADS, CUT, MINIMA>(w, panel, p * 16, xt, t, out);
        t += 1;
      }
    }
  }
}

template <int QUADS>
void choose(const IntWeight& w, const Q8Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
            std::int64_t end, std::byte* scratch) {
  const bool minima = has_minima(w);
  if (w.segments == SegmentKind::whole)
    return minima ? panels<QUADS, Cut::whole, true>(w, x, tokens, out, begin, end, scratch)
                  : panels<QUADS, Cut::whole, false>(w, x, tokens, out, begin, end, scratch);
  if (w.segments == SegmentKind::half)
    return minima ? panels<QUADS, Cut::half, true>(w, x, tokens, out, begin, end, scratch)
                  : panels<QUADS, Cut::half, false>(w, x, tokens, out, begin, end, scratch);
  return minima ? panels<QUADS, Cut::quads, true>(w, x, tokens, out, begin, end, scratch)
                : panels<QUADS, Cut::quads, false>(w, x, tokens, out, begin, end, scratch);
}

}  // namespace

void int_panels(const IntWeight& w, const Q8Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
                std::int64_t end, std::byte* scratch) {
  if (w.segments == SegmentKind::ragged) return reference::int_panels(w, x, tokens, out, begin, end, scratch);
  with_quads(w, [&]<int QUADS>() { choose<QUADS>(w, x, tokens, out, begin, end, scratch); });
}

}  // namespace sparing::kernels::avx2
