// Int16 activations (q16.h): their high and low bytes are two int8 products, joined in integers once a segment.

#include "kernels/avx512.h"
#include "kernels/avx512_common.h"
#include "kernels/reference.h"

namespace sparing::kernels::avx512 {
namespace {

inline const std::int8_t* high_of(const Q16Block* x, std::int64_t block, int token) {
  return x[block / 2].high[token] + 32 * (block % 2);
}
inline const std::int8_t* low_of(const Q16Block* x, std::int64_t block, int token) {
  return x[block / 2].low[token] + 32 * (block % 2);
}
/// Of a block of 32 inputs, or of a half of it.
inline std::int32_t sum_of(const Q16Block* x, std::int64_t block, int token) {
  const auto* sums = x[block / 2].sum + 2 * (block % 2);
  return sums[0][token] + sums[1][token];
}
inline std::int32_t half_sum_of(const Q16Block* x, std::int64_t block, int half, int token) {
  return x[block / 2].sum[2 * (block % 2) + half][token];
}

/// A segment's contribution to 16 rows of one token. `zeros` as integers, unless MINIMA.
template <bool MINIMA>
inline Floats add_segment(Floats acc, Ints high, Ints low, std::int32_t sum, Floats scale, Floats minimum, Ints zeros) {
  Ints dot = _mm512_add_epi32(_mm512_slli_epi32(high, 8), low);
  if constexpr (!MINIMA) dot = _mm512_sub_epi32(dot, _mm512_mullo_epi32(zeros, _mm512_set1_epi32(sum)));
  acc = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, acc);
  if constexpr (MINIMA) acc = _mm512_fmadd_ps(minimum, _mm512_set1_ps(static_cast<float>(sum)), acc);
  return acc;
}

/// 16 rows of tokens [first, first + TOKENS) of a tile, before the tokens' scales.
template <int BITS, bool TABLE, bool HALF, bool MINIMA, int TOKENS>
inline void panel(const IntWeight& w, const Groups& groups, const Ahead& ahead, const std::byte* block, Ints table,
                  const Q16Block* x, int first, Floats (&acc)[TOKENS]) {
  constexpr int kSegments = HALF ? 2 : 1, kQuads = 8 / kSegments, kChains = TOKENS == 1 ? 2 : 1;
  const float *scale = groups.scale, *second = groups.second;
  std::int32_t in_group = 0, in_piece = 0;
  Ints high[TOKENS][kChains], low[TOKENS][kChains];
  std::int32_t sums[TOKENS];
  const auto clear = [&]() __attribute__((always_inline)) {
    SPARING_UNROLL
    for (int t = 0; t < TOKENS; ++t) {
      SPARING_UNROLL
      for (int c = 0; c < kChains; ++c) high[t][c] = low[t][c] = _mm512_setzero_si512();
      sums[t] = 0;
    }
  };
  SPARING_UNROLL
  for (int t = 0; t < TOKENS; ++t) acc[t] = _mm512_setzero_ps();
  clear();
  for (std::int64_t b = 0; b < w.layout.blocks; ++b, block += 64 * BITS) {
    ahead.ask<BITS, TOKENS>(block, b);
    Ints codes[8];
    unpack_block<BITS>(block, codes);
    if constexpr (TABLE) {
      SPARING_UNROLL
      for (int q = 0; q < 8; ++q) codes[q] = _mm512_shuffle_epi8(table, codes[q]);
    }
    SPARING_UNROLL
    for (int s = 0; s < kSegments; ++s) {
      SPARING_UNROLL
      for (int t = 0; t < TOKENS; ++t) {
        const std::int8_t *xh = high_of(x, b, first + t), *xl = low_of(x, b, first + t);
        SPARING_UNROLL
        for (int q = s * kQuads; q < (s + 1) * kQuads; ++q) {
          Ints &h = high[t][q % kChains], &l = low[t][q % kChains];
          h = _mm512_dpbusd_epi32(h, codes[q], broadcast_quad(xh + 4 * q));
          l = _mm512_dpbusd_epi32(l, codes[q], broadcast_quad(xl + 4 * q));
        }
        sums[t] += HALF ? half_sum_of(x, b, s, first + t) : sum_of(x, b, first + t);
      }
      const bool group_ends = HALF || ++in_group == w.blocks_per_group || b + 1 == w.layout.blocks;
      if (group_ends || ++in_piece == kWideBlocksPerPiece) {
        const Floats other = _mm512_loadu_ps(second), scales = _mm512_loadu_ps(scale);
        Ints zeros = _mm512_setzero_si512();
        if constexpr (!MINIMA) zeros = _mm512_cvtps_epi32(other);
        SPARING_UNROLL
        for (int t = 0; t < TOKENS; ++t) {
          Ints h = high[t][0], l = low[t][0];
          if constexpr (kChains == 2) {
            h = _mm512_add_epi32(h, high[t][1]);
            l = _mm512_add_epi32(l, low[t][1]);
          }
          acc[t] = add_segment<MINIMA>(acc[t], h, l, sums[t], scales, other, zeros);
        }
        clear();
        in_piece = 0;
      }
      if (group_ends) {
        scale += 16;
        second += groups.step;
        in_group = 0;
      }
    }
  }
}

template <int BITS, bool TABLE, bool HALF, bool MINIMA>
void gemv(const IntWeight& w, const Q16Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
          std::int64_t end, std::byte* scratch) {
  const Groups groups = take_groups(w, scratch);
  Ints table = _mm512_setzero_si512();
  if constexpr (TABLE) table = table_register(w.table, BITS);
  for (std::int64_t p = begin; p < end; ++p) {
    decode_groups(w, p, groups);
    const Ahead ahead(w, p);
    const std::byte* block = w.blob + w.layout.codes + p * w.layout.blocks * (64 * BITS);
    const __mmask16 rows = rows_left(w.rows, p * 16);
    for (std::int64_t t = 0; t < tokens; t += kFewTokens) {
      const std::int64_t some = tokens - t < kFewTokens ? tokens - t : kFewTokens;
      if (some == 1) {
        Floats acc[1];
        panel<BITS, TABLE, HALF, MINIMA, 1>(w, groups, ahead, block, table, x, static_cast<int>(t), acc);
        store_rows(out, t, p * 16, rows, _mm512_mul_ps(acc[0], broadcast(x[0].scale + t)));
      } else {
        Floats acc[kFewTokens];
        panel<BITS, TABLE, HALF, MINIMA, kFewTokens>(w, groups, ahead, block, table, x, static_cast<int>(t), acc);
        for (int i = 0; i < some; ++i)
          store_rows(out, t + i, p * 16, rows, _mm512_mul_ps(acc[i], broadcast(x[0].scale + t + i)));
      }
    }
  }
}

using Gemv = void (*)(const IntWeight&, const Q16Block*, std::int64_t, const Output&, std::int64_t, std::int64_t,
                      std::byte*);

template <int BITS>
Gemv choose(bool half, bool minima) {
  if (half) return minima ? gemv<BITS, false, true, true> : gemv<BITS, false, true, false>;
  return minima ? gemv<BITS, false, false, true> : gemv<BITS, false, false, false>;
}

void wide_gemv(const IntWeight& w, const Q16Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
               std::int64_t end, std::byte* scratch) {
  const bool half = w.segments == SegmentKind::half, minima = has_minima(w);
  static constexpr Gemv kTables[3][2] = {{gemv<2, true, false, false>, gemv<2, true, true, false>},
                                         {gemv<3, true, false, false>, gemv<3, true, true, false>},
                                         {gemv<4, true, false, false>, gemv<4, true, true, false>}};
  static constexpr Gemv (*kWidths[])(bool, bool) = {choose<2>, choose<3>, choose<4>, choose<5>,
                                                    choose<6>, choose<7>, choose<8>};
  const Gemv chosen = w.table != nullptr ? kTables[w.spec.bits - 2][half] : kWidths[w.spec.bits - 2](half, minima);
  chosen(w, x, tokens, out, begin, end, scratch);
}

// ---- more tokens: a pair of panels unpacked to bytes in cache, register tiles of 2 panels x 4 tokens

struct Panels {
  const std::byte* codes[2];
  Groups groups[2];
};

/// The two planes' sums of a segment so far.
template <int PANELS, int TOKENS>
struct Sums {
  Ints high[PANELS][TOKENS], low[PANELS][TOKENS];
  std::int32_t x[TOKENS];

  inline void clear() {
    SPARING_UNROLL
    for (int t = 0; t < TOKENS; ++t) {
      SPARING_UNROLL
      for (int p = 0; p < PANELS; ++p) high[p][t] = low[p][t] = _mm512_setzero_si512();
      x[t] = 0;
    }
  }
  inline void add_quad(const std::byte* const (&codes)[2], const Q16Block& xb, int offset, int first, int quad) {
    Ints wq[PANELS];
    SPARING_UNROLL
    for (int p = 0; p < PANELS; ++p) wq[p] = load_bytes(codes[p] + 64 * quad);
    SPARING_UNROLL
    for (int t = 0; t < TOKENS; ++t) {
      const Ints h = broadcast_quad(xb.high[first + t] + offset + 4 * quad),
                 l = broadcast_quad(xb.low[first + t] + offset + 4 * quad);
      SPARING_UNROLL
      for (int p = 0; p < PANELS; ++p) {
        high[p][t] = _mm512_dpbusd_epi32(high[p][t], wq[p], h);
        low[p][t] = _mm512_dpbusd_epi32(low[p][t], wq[p], l);
      }
    }
  }
  template <bool MINIMA>
  inline void finish(const Panels& panels, std::int64_t group, Floats (&acc)[PANELS][TOKENS]) {
    SPARING_UNROLL
    for (int p = 0; p < PANELS; ++p) {
      const Floats scale = _mm512_loadu_ps(panels.groups[p].scale + 16 * group);
      const Floats other = _mm512_loadu_ps(panels.groups[p].second + panels.groups[p].step * group);
      Ints zeros = _mm512_setzero_si512();
      if constexpr (!MINIMA) zeros = _mm512_cvtps_epi32(other);
      SPARING_UNROLL
      for (int t = 0; t < TOKENS; ++t)
        acc[p][t] = add_segment<MINIMA>(acc[p][t], high[p][t], low[p][t], x[t], scale, other, zeros);
    }
    clear();
  }
};

enum class Cut { whole, half, quads };

template <int PANELS, int TOKENS, Cut CUT, bool MINIMA>
void tile(const IntWeight& w, const Panels& panels, const Q16Block* x, int first, Floats (&acc)[PANELS][TOKENS]) {
  SPARING_UNROLL
  for (int p = 0; p < PANELS; ++p) {
    SPARING_UNROLL
    for (int t = 0; t < TOKENS; ++t) acc[p][t] = _mm512_setzero_ps();
  }
  Sums<PANELS, TOKENS> sums;
  sums.clear();
  std::int64_t group = 0;
  std::int32_t in_group = 0, in_piece = 0;
  for (std::int64_t b = 0; b < w.layout.blocks; ++b) {
    const Q16Block& xb = x[b / 2];
    const int offset = 32 * static_cast<int>(b % 2);
    const std::byte* const codes[2] = {panels.codes[0] + 512 * b, panels.codes[1] + 512 * b};
    if constexpr (CUT == Cut::whole) {
      SPARING_UNROLL
      for (int q = 0; q < 8; ++q) sums.add_quad(codes, xb, offset, first, q);
      SPARING_UNROLL
      for (int t = 0; t < TOKENS; ++t) sums.x[t] += sum_of(x, b, first + t);
      const bool group_ends = ++in_group == w.blocks_per_group || b + 1 == w.layout.blocks;
      if (group_ends || ++in_piece == kWideBlocksPerPiece) {
        sums.template finish<MINIMA>(panels, group, acc);
        in_piece = 0;
      }
      if (group_ends) {
        ++group;
        in_group = 0;
      }
    } else if constexpr (CUT == Cut::half) {
      for (int s = 0; s < 2; ++s, ++group) {
        SPARING_UNROLL
        for (int q = 0; q < 4; ++q) sums.add_quad(codes, xb, offset, first, 4 * s + q);
        for (int t = 0; t < TOKENS; ++t) sums.x[t] = half_sum_of(x, b, s, first + t);
        sums.template finish<MINIMA>(panels, group, acc);
      }
    } else {
      for (std::int32_t i = w.segment_starts[b]; i < w.segment_starts[b + 1]; ++i) {
        const Segment& s = w.segment_list[i];
        for (int q = s.first; q < s.last; ++q) {
          sums.add_quad(codes, xb, offset, first, q);
          for (int t = 0; t < TOKENS; ++t)
            for (int k = offset + 4 * q; k < offset + 4 * q + 4; ++k)
              sums.x[t] += 256 * xb.high[first + t][k] + xb.low[first + t][k];
        }
        sums.template finish<MINIMA>(panels, s.group, acc);
      }
    }
  }
}

template <int PANELS, int TOKENS, Cut CUT, bool MINIMA>
void run_tile(const IntWeight& w, const Panels& panels, std::int64_t panel, const Q16Block* x, std::int64_t token,
              const Output& out) {
  Floats acc[PANELS][TOKENS];
  const int first = static_cast<int>(token % kTileTokens);
  tile<PANELS, TOKENS, CUT, MINIMA>(w, panels, x, first, acc);
  for (int p = 0; p < PANELS; ++p) {
    const std::int64_t row = (panel + p) * 16;
    for (int t = 0; t < TOKENS; ++t)
      store_rows(out, token + t, row, rows_left(w.rows, row),
                 _mm512_mul_ps(acc[p][t], broadcast(x[0].scale + first + t)));
  }
}

template <int PANELS, Cut CUT, bool MINIMA>
void all_tokens(const IntWeight& w, const Panels& panels, std::int64_t panel, const Q16Block* x, std::int64_t from,
                std::int64_t to, const Output& out) {
  const std::int64_t blocks = (w.cols + kWideInputs - 1) / kWideInputs;
  std::int64_t t = from;
  // Tiles of 4 never straddle the blocks of 16 tokens: `from` is a multiple of 16.
  for (; t + 4 <= to; t += 4) run_tile<PANELS, 4, CUT, MINIMA>(w, panels, panel, x + t / kTileTokens * blocks, t, out);
  for (; t + 2 <= to; t += 2) run_tile<PANELS, 2, CUT, MINIMA>(w, panels, panel, x + t / kTileTokens * blocks, t, out);
  if (t < to) run_tile<PANELS, 1, CUT, MINIMA>(w, panels, panel, x + t / kTileTokens * blocks, t, out);
}

template <Cut CUT, bool MINIMA>
void gemm(const IntWeight& w, const Q16Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
          std::int64_t end, std::byte* scratch) {
  const std::int64_t panel_bytes = w.layout.blocks * 512;
  Panels panels{};
  std::byte* codes = scratch;
  scratch += 2 * panel_bytes;
  panels.codes[0] = codes;
  panels.codes[1] = codes + panel_bytes;
  panels.groups[0] = take_groups(w, scratch);
  panels.groups[1] = take_groups(w, scratch);
  const std::int64_t chunk = tokens_in_cache(w.layout.blocks * static_cast<std::int64_t>(sizeof(Q16Block)) / 2);
  for (std::int64_t from = 0; from < tokens; from += chunk) {
    const std::int64_t to = from + chunk < tokens ? from + chunk : tokens;
    for (std::int64_t p = begin; p < end; p += 2) {
      const int count = p + 1 < end ? 2 : 1;
      for (int i = 0; i < count; ++i) {
        unpack_panel(w, p + i, codes + i * panel_bytes);
        decode_groups(w, p + i, panels.groups[i]);
      }
      if (count == 2) {
        all_tokens<2, CUT, MINIMA>(w, panels, p, x, from, to, out);
      } else {
        all_tokens<1, CUT, MINIMA>(w, panels, p, x, from, to, out);
      }
    }
  }
}

template <Cut CUT>
void wide_gemm(const IntWeight& w, const Q16Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
               std::int64_t end, std::byte* scratch) {
  has_minima(w) ? gemm<CUT, true>(w, x, tokens, out, begin, end, scratch)
                : gemm<CUT, false>(w, x, tokens, out, begin, end, scratch);
}

}  // namespace

void quantise_wide(const float* x, std::int64_t tokens, std::int64_t x_stride, std::int64_t cols, std::int64_t tile,
                   Q16Block* out) {
  const std::int64_t first = tile * kTileTokens;
  const std::int64_t last = tokens < first + kTileTokens ? tokens : first + kTileTokens;
  const auto part_of = [&](std::int64_t c) {
    return c + 16 <= cols ? static_cast<__mmask16>(0xFFFF)
           : c < cols     ? static_cast<__mmask16>((1u << (cols - c)) - 1u)
                          : static_cast<__mmask16>(0);
  };
  for (std::int64_t t = first; t < last; ++t) {
    const float* row = x + t * x_stride;
    const std::int64_t lane = t - first;
    Ints most = _mm512_setzero_si512();
    for (std::int64_t c = 0; c < cols; c += 16) {
      const Ints bits = _mm512_castps_si512(_mm512_maskz_loadu_ps(part_of(c), row + c));
      most = _mm512_max_epi32(most, _mm512_and_si512(bits, _mm512_set1_epi32(0x7FFFFFFF)));
    }
    const std::int32_t bits = _mm512_reduce_max_epi32(most);
    float amax, scale = 0, inverse = 0;
    __builtin_memcpy(&amax, &bits, 4);
    if (bits >= 0x7F800000) {
      scale = __builtin_nanf("");
    } else if (amax >= 0x1p-100f) {
      scale = amax / 32512.0f;
      inverse = 1.0f / scale;
    }
    // An infinity or a NaN times 0 is NaN, whose conversion is not 0: such rows are masked out.
    const __mmask16 keep = inverse != 0 ? 0xFFFF : 0;
    const std::int64_t stop = (cols + kWideInputs - 1) / kWideInputs * kWideInputs;
    for (std::int64_t c = 0; c < stop; c += kWideInputs) {
      Q16Block& block = out[c / kWideInputs];
      Ints codes[4];
      SPARING_UNROLL
      for (int i = 0; i < 4; ++i) {
        const std::int64_t at = c + 16 * i;
        const Floats v = at + 16 <= cols ? _mm512_loadu_ps(row + at) : _mm512_maskz_loadu_ps(part_of(at), row + at);
        codes[i] = _mm512_maskz_cvtps_epi32(keep, _mm512_mul_ps(v, _mm512_set1_ps(inverse)));
        const Ints high = _mm512_srai_epi32(_mm512_add_epi32(codes[i], _mm512_set1_epi32(128)), 8);
        _mm_storeu_si128(reinterpret_cast<__m128i*>(block.high[lane] + 16 * i), _mm512_cvtepi32_epi8(high));
        // The truncated low byte, read as signed, is what is left.
        _mm_storeu_si128(reinterpret_cast<__m128i*>(block.low[lane] + 16 * i), _mm512_cvtepi32_epi8(codes[i]));
      }
      alignas(16) std::int32_t sums[4];
      _mm_store_si128(reinterpret_cast<__m128i*>(sums), reduce_four(codes, Add{}));
      SPARING_UNROLL
      for (int i = 0; i < 4; ++i) block.sum[i][lane] = sums[i];
    }
    out[0].scale[lane] = scale;
  }
}

void wide_panels(const IntWeight& w, const Q16Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
                 std::int64_t end, std::byte* scratch) {
  if (w.segments == SegmentKind::ragged) return reference::wide_panels(w, x, tokens, out, begin, end, scratch);
  const bool wide_table = w.table != nullptr && w.spec.bits > 4;
  if (tokens <= kMostTokens && w.segments != SegmentKind::quads && !wide_table)
    return wide_gemv(w, x, tokens, out, begin, end, scratch);
  if (w.segments == SegmentKind::whole) return wide_gemm<Cut::whole>(w, x, tokens, out, begin, end, scratch);
  if (w.segments == SegmentKind::half) return wide_gemm<Cut::half>(w, x, tokens, out, begin, end, scratch);
  wide_gemm<Cut::quads>(w, x, tokens, out, begin, end, scratch);
}

}  // namespace sparing::kernels::avx512
