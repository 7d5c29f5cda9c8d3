// More tokens than a few. A pair of panels is unpacked to bytes in cache, then every token's dot products run over them
// in register tiles of 2 panels x 4 tokens.

#include "kernels/avx512.h"
#include "kernels/avx512_common.h"

namespace sparing::kernels::avx512 {
namespace {

struct Panels {
  const std::byte* codes[2];
  Groups groups[2];
};

template <int BITS>
void unpack(const IntWeight& w, const std::byte* from, std::byte* to) {
  Ints table = _mm512_setzero_si512();
  const bool shuffle = w.table != nullptr && BITS <= 4;
  if (shuffle) table = table_register(w.table, BITS <= 4 ? BITS : 4);
  for (std::int64_t b = 0; b < w.layout.blocks; ++b, from += 64 * BITS, to += 512) {
    Ints codes[8];
    unpack_block<BITS>(from, codes);
    SPARING_UNROLL
    for (int q = 0; q < 8; ++q)
      _mm512_storeu_si512(to + 64 * q, shuffle ? _mm512_shuffle_epi8(table, codes[q]) : codes[q]);
    if (w.table != nullptr && !shuffle)
      for (int i = 0; i < 512; ++i) to[i] = static_cast<std::byte>(w.table[static_cast<std::uint8_t>(to[i])]);
  }
}

enum class Cut { whole, half, quads };

template <int PANELS, int TOKENS, Cut CUT, bool MINIMA>
void tile(const IntWeight& w, const Panels& panels, const Q8Block* x, int first, Floats (&acc)[PANELS][TOKENS]) {
  SPARING_UNROLL
  for (int p = 0; p < PANELS; ++p) {
    SPARING_UNROLL
    for (int t = 0; t < TOKENS; ++t) acc[p][t] = _mm512_setzero_ps();
  }
  std::int64_t group = 0;
  std::int32_t left = w.blocks_per_group;
  for (std::int64_t b = 0; b < w.layout.blocks; ++b) {
    const Q8Block& xb = x[b];
    const std::byte* codes[2] = {panels.codes[0] + 512 * b, panels.codes[1] + 512 * b};
    int segment = 0, segments = CUT == Cut::half ? 2 : 1;
    if constexpr (CUT == Cut::quads) {
      segment = w.segment_starts[b];
      segments = w.segment_starts[b + 1];
    }
    for (; segment < segments; ++segment) {
      int q = 0, stop = 8, sum = 0;
      if constexpr (CUT == Cut::half) {
        q = 4 * segment;
        stop = q + 4;
        sum = 1 + segment;
      }
      if constexpr (CUT == Cut::quads) {
        q = w.segment_list[segment].first;
        stop = w.segment_list[segment].last;
        group = w.segment_list[segment].group;
      }
      Ints dot[PANELS][TOKENS], sums[TOKENS];
      SPARING_UNROLL
      for (int t = 0; t < TOKENS; ++t) {
        SPARING_UNROLL
        for (int p = 0; p < PANELS; ++p) dot[p][t] = _mm512_setzero_si512();
        sums[t] = _mm512_setzero_si512();
      }
      const auto quad = [&](int at) __attribute__((always_inline)) {
        Ints wq[PANELS];
        SPARING_UNROLL
        for (int p = 0; p < PANELS; ++p) wq[p] = load_bytes(codes[p] + 64 * at);
        SPARING_UNROLL
        for (int t = 0; t < TOKENS; ++t) {
          const Ints xq = broadcast_quad(xb.codes[first + t] + 4 * at);
          SPARING_UNROLL
          for (int p = 0; p < PANELS; ++p) dot[p][t] = _mm512_dpbusd_epi32(dot[p][t], wq[p], xq);
          if constexpr (CUT == Cut::quads) sums[t] = _mm512_dpbusd_epi32(sums[t], _mm512_set1_epi8(1), xq);
        }
      };
      if constexpr (CUT == Cut::quads) {
        for (; q < stop; ++q) quad(q);
      } else {
        SPARING_UNROLL
        for (int i = 0; i < (CUT == Cut::half ? 4 : 8); ++i) quad(q + i);
      }
      SPARING_UNROLL
      for (int p = 0; p < PANELS; ++p) {
        const Floats scale = _mm512_loadu_ps(panels.groups[p].scale + 16 * group);
        const Floats other = _mm512_loadu_ps(panels.groups[p].second + panels.groups[p].step * group);
        SPARING_UNROLL
        for (int t = 0; t < TOKENS; ++t) {
          Floats d = _mm512_cvtepi32_ps(dot[p][t]);
          const Floats xs = broadcast(xb.scale + first + t);
          if constexpr (!MINIMA) {
            const Floats s = CUT == Cut::quads ? _mm512_cvtepi32_ps(sums[t]) : broadcast(xb.sum[sum] + first + t);
            d = _mm512_fnmadd_ps(other, s, d);
          }
          acc[p][t] = _mm512_fmadd_ps(d, _mm512_mul_ps(scale, xs), acc[p][t]);
          if constexpr (MINIMA) {
            const Floats s = CUT == Cut::quads ? _mm512_mul_ps(_mm512_cvtepi32_ps(sums[t]), xs)
                                               : broadcast(xb.scaled_sum[sum] + first + t);
            acc[p][t] = _mm512_fmadd_ps(other, s, acc[p][t]);
          }
        }
      }
      if (CUT == Cut::half || (CUT == Cut::whole && --left == 0)) {
        ++group;
        left = w.blocks_per_group;
      }
    }
  }
}

template <int PANELS, int TOKENS, Cut CUT, bool MINIMA>
void run_tile(const IntWeight& w, const Panels& panels, std::int64_t panel, const Q8Block* x, std::int64_t token,
              const Output& out) {
  Floats acc[PANELS][TOKENS];
  tile<PANELS, TOKENS, CUT, MINIMA>(w, panels, x, static_cast<int>(token % kTileTokens), acc);
  for (int p = 0; p < PANELS; ++p) {
    const std::int64_t row = (panel + p) * 16;
    for (int t = 0; t < TOKENS; ++t) store_rows(out, token + t, row, rows_left(w.rows, row), acc[p][t]);
  }
}

template <int PANELS, Cut CUT, bool MINIMA>
void all_tokens(const IntWeight& w, const Panels& panels, std::int64_t panel, const Q8Block* x, std::int64_t from,
                std::int64_t to, const Output& out) {
  for (std::int64_t t = from; t < to;) {
    const Q8Block* xt = x + t / kTileTokens * w.layout.blocks;
    // Tiles of 4 never straddle the blocks of 16 tokens: `from` is a multiple of 16.
    switch (to - t) {
      case 1:
        run_tile<PANELS, 1, CUT, MINIMA>(w, panels, panel, xt, t, out);
        t += 1;
        break;
      case 2:
        run_tile<PANELS, 2, CUT, MINIMA>(w, panels, panel, xt, t, out);
        t += 2;
        break;
      case 3:
        run_tile<PANELS, 3, CUT, MINIMA>(w, panels, panel, xt, t, out);
        t += 3;
        break;
      default:
        run_tile<PANELS, 4, CUT, MINIMA>(w, panels, panel, xt, t, out);
        t += 4;
    }
  }
}

template <Cut CUT, bool MINIMA>
void gemm(const IntWeight& w, const Q8Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
          std::int64_t end, std::byte* scratch) {
  const std::int64_t panel_bytes = w.layout.blocks * 512;
  Panels panels{};
  std::byte* codes = scratch;
  scratch += 2 * panel_bytes;
  panels.codes[0] = codes;
  panels.codes[1] = codes + panel_bytes;
  panels.groups[0] = take_groups(w, scratch);
  panels.groups[1] = take_groups(w, scratch);
  const std::int64_t chunk = tokens_in_cache(w.layout.blocks * static_cast<std::int64_t>(sizeof(Q8Block)));
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

}  // namespace

void unpack_panel(const IntWeight& w, std::int64_t panel, std::byte* to) {
  using Unpack = void (*)(const IntWeight&, const std::byte*, std::byte*);
  static constexpr Unpack kWidths[] = {unpack<2>, unpack<3>, unpack<4>, unpack<5>, unpack<6>, unpack<7>, unpack<8>};
  kWidths[w.spec.bits - 2](w, w.blob + w.layout.codes + panel * w.layout.blocks * w.layout.block_bytes, to);
}

void int_gemm(const IntWeight& w, const Q8Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
              std::int64_t end, std::byte* scratch) {
  const bool minima = has_minima(w);
  switch (w.segments) {
    case SegmentKind::whole:
      return minima ? gemm<Cut::whole, true>(w, x, tokens, out, begin, end, scratch)
                    : gemm<Cut::whole, false>(w, x, tokens, out, begin, end, scratch);
    case SegmentKind::half:
      return minima ? gemm<Cut::half, true>(w, x, tokens, out, begin, end, scratch)
                    : gemm<Cut::half, false>(w, x, tokens, out, begin, end, scratch);
    default:
      return minima ? gemm<Cut::quads, true>(w, x, tokens, out, begin, end, scratch)
                    : gemm<Cut::quads, false>(w, x, tokens, out, begin, end, scratch);
  }
}

}  // namespace sparing::kernels::avx512
