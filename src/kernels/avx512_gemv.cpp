// A few tokens. Weights stream through once; per block of 32 inputs and 16 rows: unpack in registers, then for each
// token 8 dot products and one fma.

#include "kernels/avx512.h"
#include "kernels/avx512_common.h"

namespace sparing::kernels::avx512 {
namespace {

/// A number for each of up to 8 tokens worked on at once: in one register, since those of 8 tokens are all taken.
template <int TOKENS>
class PerToken {
 public:
  inline void add(const float* from) {
    v_ = _mm256_add_ps(v_, _mm256_maskz_loadu_ps(static_cast<__mmask8>((1u << TOKENS) - 1u), from));
  }
  inline Floats splat(int token) const {
    if constexpr (TOKENS == 1) return _mm512_broadcastss_ps(_mm256_castps256_ps128(v_));
    alignas(32) float each[8];
    _mm256_store_ps(each, v_);
    return _mm512_set1_ps(each[token]);
  }

 private:
  __m256 v_ = _mm256_setzero_ps();
};

/// 16 rows of tokens [first, first + TOKENS) of a tile.
template <int BITS, bool TABLE, bool HALF, bool MINIMA, int TOKENS>
inline void panel(const IntWeight& w, const Groups& groups, const Ahead& ahead, const std::byte* block, Ints table,
                  const Q8Block* x, int first, Floats (&acc)[TOKENS]) {
  constexpr int kSegments = HALF ? 2 : 1, kQuads = 8 / kSegments;
  const float *scale = groups.scale, *second = groups.second;
  std::int32_t left = w.blocks_per_group;
  Floats part[TOKENS];
  PerToken<TOKENS> total;
  SPARING_UNROLL
  for (int t = 0; t < TOKENS; ++t) acc[t] = part[t] = _mm512_setzero_ps();
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
      // The second half of the last block may be all padding, and then has no group.
      if (HALF && scale == groups.scale + 16 * w.layout.groups) break;
      SPARING_UNROLL
      for (int t = 0; t < TOKENS; ++t) {
        const std::int8_t* xt = x[b].codes[first + t];
        Ints even = _mm512_setzero_si512(), odd = even;
        SPARING_UNROLL
        for (int q = s * kQuads; q < (s + 1) * kQuads; q += 2) {
          even = _mm512_dpbusd_epi32(even, codes[q], broadcast_quad(xt + 4 * q));
          odd = _mm512_dpbusd_epi32(odd, codes[q + 1], broadcast_quad(xt + 4 * q + 4));
        }
        part[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_add_epi32(even, odd)), broadcast(x[b].scale + first + t),
                                  part[t]);
      }
      total.add(x[b].scaled_sum[HALF ? 1 + s : 0] + first);
      if (HALF || --left == 0 || b + 1 == w.layout.blocks) {
        const Floats other = _mm512_loadu_ps(second), scales = _mm512_loadu_ps(scale);
        SPARING_UNROLL
        for (int t = 0; t < TOKENS; ++t) {
          acc[t] = add_group<MINIMA>(acc[t], part[t], total.splat(t), scales, other);
          part[t] = _mm512_setzero_ps();
        }
        total = {};
        scale += 16;
        second += groups.step;
        left = w.blocks_per_group;
      }
    }
  }
}

/// The next tokens of a few: 1, up to 4 or up to 8 at once.
template <int BITS, bool TABLE, bool HALF, bool MINIMA, int TOKENS>
inline void run_panel(const IntWeight& w, const Groups& groups, const Ahead& ahead, const std::byte* block, Ints table,
                      const Q8Block* x, std::int64_t token, std::int64_t some, const Output& out, std::int64_t row) {
  Floats acc[TOKENS];
  panel<BITS, TABLE, HALF, MINIMA, TOKENS>(w, groups, ahead, block, table, x, static_cast<int>(token), acc);
  for (int i = 0; i < some; ++i) store_rows(out, token + i, row, rows_left(w.rows, row), acc[i]);
}

template <int BITS, bool TABLE, bool HALF, bool MINIMA>
void gemv(const IntWeight& w, const Q8Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
          std::int64_t end, std::byte* scratch) {
  const Groups groups = take_groups(w, scratch);
  Ints table = _mm512_setzero_si512();
  if constexpr (TABLE) table = table_register(w.table, BITS);
  for (std::int64_t p = begin; p < end; ++p) {
    decode_groups(w, p, groups);
    const Ahead ahead(w, p);
    const std::byte* block = w.blob + w.layout.codes + p * w.layout.blocks * (64 * BITS);
    for (std::int64_t t = 0; t < tokens;) {
      const std::int64_t left = tokens - t;
      if (left == 1) {
        run_panel<BITS, TABLE, HALF, MINIMA, 1>(w, groups, ahead, block, table, x, t, 1, out, p * 16);
        t += 1;
      } else if (left <= kFewTokens) {
        run_panel<BITS, TABLE, HALF, MINIMA, kFewTokens>(w, groups, ahead, block, table, x, t, left, out, p * 16);
        t += kFewTokens;
      } else {
        const std::int64_t some = left < 2 * kFewTokens ? left : 2 * kFewTokens;
        run_panel<BITS, TABLE, HALF, MINIMA, 2 * kFewTokens>(w, groups, ahead, block, table, x, t, some, out, p * 16);
        t += 2 * kFewTokens;
      }
    }
  }
}

using Gemv = void (*)(const IntWeight&, const Q8Block*, std::int64_t, const Output&, std::int64_t, std::int64_t,
                      std::byte*);

template <int BITS>
Gemv choose(bool half, bool minima) {
  if (half) return minima ? gemv<BITS, false, true, true> : gemv<BITS, false, true, false>;
  return minima ? gemv<BITS, false, false, true> : gemv<BITS, false, false, false>;
}

}  // namespace

void int_gemv(const IntWeight& w, const Q8Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
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

}  // namespace sparing::kernels::avx512
