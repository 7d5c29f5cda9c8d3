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

template <int TOKENS, int QUADS, Cut CUT, bool MINIMA>
inline void segment(const std::byte* codes, const Q8Block& x, int token, int first, int stop, int sum,
                    const float* scale, const float* second, __m256 (&acc)[TOKENS]) {
  const __m256 s = _mm256_loadu_ps(scale), other = _mm256_loadu_ps(second);
  SPARING_UNROLL
  for (int t = 0; t < TOKENS; ++t) {
    const std::int8_t* xt = x.codes[token + t];
    __m256 d = _mm256_cvtepi32_ps(dot<QUADS>(codes, xt, first, stop));
    const __m256 xs = _mm256_set1_ps(x.scale[token + t]);
    float total = x.sum[sum][token + t], scaled = x.scaled_sum[sum][token + t];
    if constexpr (CUT == Cut::quads) {
      std::int32_t exact = 0;
      for (int i = 4 * first; i < 4 * stop; ++i) exact += xt[i];
      total = static_cast<float>(exact);
      scaled = total * x.scale[token + t];
    }
    if constexpr (!MINIMA) d = _mm256_fnmadd_ps(other, _mm256_set1_ps(total), d);
    acc[t] = _mm256_fmadd_ps(d, _mm256_mul_ps(s, xs), acc[t]);
    if constexpr (MINIMA) acc[t] = _mm256_fmadd_ps(other, _mm256_set1_ps(scaled), acc[t]);
  }
}

template <int TOKENS, int QUADS, Cut CUT, bool MINIMA>
void tile(const IntWeight& w, const Panel& panel, const Q8Block* x, int token, int half, __m256 (&acc)[TOKENS]) {
  SPARING_UNROLL
  for (int t = 0; t < TOKENS; ++t) acc[t] = _mm256_setzero_ps();
  const float *scale = panel.groups.scale + 8 * half, *second = panel.groups.second + 8 * half;
  const std::int64_t step = panel.groups.step;
  std::int64_t group = 0;
  std::int32_t left = w.blocks_per_group;
  for (std::int64_t b = 0; b < w.layout.blocks; ++b) {
    const std::byte* codes = panel.codes + 512 * b + 32 * half;
    if constexpr (CUT == Cut::whole) {
      segment<TOKENS, QUADS, CUT, MINIMA>(codes, x[b], token, 0, 8, 0, scale + 16 * group, second + step * group, acc);
      if (--left == 0) {
        ++group;
        left = w.blocks_per_group;
      }
    } else if constexpr (CUT == Cut::half) {
      for (int s = 0; s < 2; ++s, ++group)
        segment<TOKENS, QUADS, CUT, MINIMA>(codes, x[b], token, 4 * s, 4 * s + 4, 1 + s, scale + 16 * group,
                                            second + step * group, acc);
    } else {
      for (std::int32_t i = w.segment_starts[b]; i < w.segment_starts[b + 1]; ++i) {
        const Segment& s = w.segment_list[i];
        segment<TOKENS, QUADS, CUT, MINIMA>(codes, x[b], token, s.first, s.last, 0, scale + 16 * s.group,
                                            second + step * s.group, acc);
      }
    }
  }
}

template <int TOKENS, int QUADS, Cut CUT, bool MINIMA>
void run_tile(const IntWeight& w, const Panel& panel, std::int64_t row, const Q8Block* x, std::int64_t token,
              const Output& out) {
  for (int half = 0; half < 2 && row + 8 * half < w.rows; ++half) {
    __m256 acc[TOKENS];
    tile<TOKENS, QUADS, CUT, MINIMA>(w, panel, x, static_cast<int>(token % kTileTokens), half, acc);
    const std::int64_t first = row + 8 * half, count = w.rows - first < 8 ? w.rows - first : 8;
    for (int t = 0; t < TOKENS; ++t) {
      float held[8];
      _mm256_storeu_ps(held, acc[t]);
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
