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

/// A group's sums so far (q8.h), and those of the groups before it.
template <int PANELS, int TOKENS>
struct Sums {
  Floats acc[PANELS][TOKENS], part[PANELS][TOKENS];
  float total[TOKENS];

  inline void clear_group() {
    SPARING_UNROLL
    for (int t = 0; t < TOKENS; ++t) {
      SPARING_UNROLL
      for (int p = 0; p < PANELS; ++p) part[p][t] = _mm512_setzero_ps();
      total[t] = 0;
    }
  }
  inline void clear() {
    clear_group();
    SPARING_UNROLL
    for (int p = 0; p < PANELS; ++p) {
      SPARING_UNROLL
      for (int t = 0; t < TOKENS; ++t) acc[p][t] = _mm512_setzero_ps();
    }
  }
  /// Quads [first, stop) of a block, which are QUADS with x's sums in scaled_sum[sum]; QUADS 0: any, summed here.
  template <int QUADS>
  inline void add(const std::byte* const (&codes)[2], const Q8Block& xb, int token, int first, int stop, int sum) {
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
        const Ints xq = broadcast_quad(xb.codes[token + t] + 4 * at);
        SPARING_UNROLL
        for (int p = 0; p < PANELS; ++p) dot[p][t] = _mm512_dpbusd_epi32(dot[p][t], wq[p], xq);
        if constexpr (QUADS == 0) sums[t] = _mm512_dpbusd_epi32(sums[t], _mm512_set1_epi8(1), xq);
      }
    };
    if constexpr (QUADS == 0) {
      for (int q = first; q < stop; ++q) quad(q);
    } else {
      SPARING_UNROLL
      for (int i = 0; i < QUADS; ++i) quad(first + i);
    }
    SPARING_UNROLL
    for (int t = 0; t < TOKENS; ++t) {
      const Floats xs = broadcast(xb.scale + token + t);
      SPARING_UNROLL
      for (int p = 0; p < PANELS; ++p) part[p][t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[p][t]), xs, part[p][t]);
      if constexpr (QUADS == 0) {
        // Every lane has the same sum.
        const auto exact = static_cast<float>(_mm512_cvtsi512_si32(sums[t]));
        total[t] = total[t] + exact * xb.scale[token + t];
      } else {
        total[t] = total[t] + xb.scaled_sum[sum][token + t];
      }
    }
  }
  template <bool MINIMA>
  inline void end_group(const Panels& panels, std::int64_t group) {
    SPARING_UNROLL
    for (int p = 0; p < PANELS; ++p) {
      const Floats scale = _mm512_loadu_ps(panels.groups[p].scale + 16 * group);
      const Floats second = _mm512_loadu_ps(panels.groups[p].second + panels.groups[p].step * group);
      SPARING_UNROLL
      for (int t = 0; t < TOKENS; ++t)
        acc[p][t] = add_group<MINIMA>(acc[p][t], part[p][t], _mm512_set1_ps(total[t]), scale, second);
    }
    clear_group();
  }
};

template <int PANELS, int TOKENS, Cut CUT, bool MINIMA>
void tile(const IntWeight& w, const Panels& panels, const Q8Block* x, int first, Sums<PANELS, TOKENS>& sums) {
  sums.clear();
  const std::int64_t blocks = w.layout.blocks;
  std::int64_t group = 0;
  std::int32_t left = w.blocks_per_group;
  for (std::int64_t b = 0; b < blocks; ++b) {
    const std::byte* const codes[2] = {panels.codes[0] + 512 * b, panels.codes[1] + 512 * b};
    if constexpr (CUT == Cut::whole) {
      sums.template add<8>(codes, x[b], first, 0, 8, 0);
      if (--left == 0 || b + 1 == blocks) {
        sums.template end_group<MINIMA>(panels, group++);
        left = w.blocks_per_group;
      }
    } else if constexpr (CUT == Cut::half) {
      for (int s = 0; s < 2 && group < w.layout.groups; ++s) {
        sums.template add<4>(codes, x[b], first, 4 * s, 4 * s + 4, 1 + s);
        sums.template end_group<MINIMA>(panels, group++);
      }
    } else {
      for (std::int32_t i = w.segment_starts[b]; i < w.segment_starts[b + 1]; ++i) {
        const Segment& s = w.segment_list[i];
        if (s.group != group) sums.template end_group<MINIMA>(panels, group++);
        sums.template add<0>(codes, x[b], first, s.first, s.last, 0);
      }
    }
  }
  if constexpr (CUT == Cut::quads) sums.template end_group<MINIMA>(panels, group);
}

template <int PANELS, int TOKENS, Cut CUT, bool MINIMA>
void run_tile(const IntWeight& w, const Panels& panels, std::int64_t panel, const Q8Block* x, std::int64_t token,
              const Output& out) {
  Sums<PANELS, TOKENS> sums;
  tile<PANELS, TOKENS, CUT, MINIMA>(w, panels, x, static_cast<int>(token % kTileTokens), sums);
  for (int p = 0; p < PANELS; ++p) {
    const std::int64_t row = (panel + p) * 16;
    for (int t = 0; t < TOKENS; ++t) store_rows(out, token + t, row, rows_left(w.rows, row), sums.acc[p][t]);
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
  if (w.vq.entries != nullptr) return unpack_vq(w, panel, to);
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
