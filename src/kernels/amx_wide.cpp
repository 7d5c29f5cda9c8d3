// Int16 activations (q16.h) on AMX: high and low bytes are two tile products over the same weights, of up to 128 inputs
// each; they are joined and scaled in AVX-512 once a segment.

#include "kernels/amx.h"
#include "kernels/amx_common.h"

namespace sparing::kernels::amx {
namespace {

// Tiles 0, 1 and 2, 3: sums of the high and low bytes of two segments. 4, 5: activations. 6, 7: weights. A product's
// result is ready only after some fifty cycles: two segments are started before the first is stored, and the vector
// unit scales the two before them meanwhile.
TileConfig config_for(int quads) {
  TileConfig c;
  for (int i = 0; i < 6; ++i) {
    c.rows[i] = kTileTokens;
    c.bytes[i] = i < 4 ? 64 : static_cast<std::uint16_t>(4 * quads);
  }
  for (int i = 6; i < 8; ++i) {
    c.rows[i] = static_cast<std::uint8_t>(quads);
    c.bytes[i] = 64;
  }
  return c;
}

/// QUADS: of a unit, what one tile product takes in.
struct Segments {
  std::int32_t units;        ///< of a row
  std::int32_t group_units;  ///< of a group
  std::int32_t piece_units;  ///< of the longest segment
};

template <int QUADS>
Segments segments_of(const IntWeight& w) {
  Segments s{};
  s.units = static_cast<std::int32_t>((w.layout.blocks * 8 + QUADS - 1) / QUADS);
  s.group_units = w.blocks_per_group >= w.layout.blocks ? s.units : w.blocks_per_group * 8 / QUADS;
  s.piece_units = 8 * kWideBlocksPerPiece / QUADS;
  if (QUADS == 4) s.group_units = s.piece_units = 1;  // groups of 16
  return s;
}

/// Walks the segments of a row.
struct Walk {
  std::int32_t unit = 0, in_group = 0, group = 0;

  std::int32_t length(const Segments& s) const {
    std::int32_t n = s.piece_units;
    n = s.group_units - in_group < n ? s.group_units - in_group : n;
    return s.units - unit < n ? s.units - unit : n;
  }
  void next(const Segments& s) {
    const std::int32_t n = length(s);
    unit += n;
    in_group += n;
    if (in_group == s.group_units) {
      in_group = 0;
      ++group;
    }
  }
};

/// Segment [unit, unit + units) into tiles 0 and 1 or 2 and 3.
template <int QUADS, int PLACE>
inline void multiply(const Q16Block* x, const std::byte* codes, std::int32_t unit, std::int32_t units) {
  if constexpr (PLACE == 0) {
    _tile_zero(0);
    _tile_zero(1);
  } else {
    _tile_zero(2);
    _tile_zero(3);
  }
  for (std::int32_t u = unit; u < unit + units; ++u) {
    const std::int32_t input = 4 * QUADS * u;
    const Q16Block& block = x[input / kWideInputs];
    const std::byte* weights = codes + static_cast<std::ptrdiff_t>(u) * (64 * QUADS);
    _tile_loadd(4, block.high[0] + input % kWideInputs, kWideInputs);
    _tile_loadd(5, block.low[0] + input % kWideInputs, kWideInputs);
    if constexpr (PLACE == 0) {
      _tile_loadd(6, weights, 64);
      _tile_dpbssd(0, 4, 6);
      _tile_dpbssd(1, 5, 6);
    } else {
      _tile_loadd(7, weights, 64);
      _tile_dpbssd(2, 4, 7);
      _tile_dpbssd(3, 5, 7);
    }
  }
}

template <int PLACE>
inline void store(std::int32_t* high, std::int32_t* low) {
  if constexpr (PLACE == 0) {
    _tile_stored(0, high, 64);
    _tile_stored(1, low, 64);
  } else {
    _tile_stored(2, high, 64);
    _tile_stored(3, low, 64);
  }
}

/// 16 tokens (or, TOKENS 0, fewer) x 16 rows.
template <int QUADS, bool MINIMA, int TOKENS>
void tile(const Segments& segments, const Panel& panel, const Q16Block* x, int tokens, Floats* out) {
  alignas(64) std::int32_t high[2][2][256], low[2][2][256];
  Floats acc[kTileTokens];
  SPARING_UNROLL
  for (int t = 0; t < kTileTokens; ++t) acc[t] = _mm512_setzero_ps();
  const auto start = [&]<int PLACE>(const Walk& at) __attribute__((always_inline)) {
    multiply<QUADS, PLACE>(x, panel.codes, at.unit, at.length(segments));
  };
  const auto scale_one = [&](const Walk& at, const std::int32_t* h, const std::int32_t* l)
      __attribute__((always_inline)) {
    const Floats scale = _mm512_loadu_ps(panel.groups.scale + 16 * at.group);
    Floats minimum = _mm512_setzero_ps();
    alignas(64) float sums[kTileTokens];
    if constexpr (MINIMA) {
      minimum = _mm512_loadu_ps(panel.groups.second + panel.groups.step * at.group);
      Ints sum = _mm512_setzero_si512();
      for (std::int32_t i = at.unit * QUADS / 4; i < (at.unit + at.length(segments)) * QUADS / 4; ++i)
        sum = _mm512_add_epi32(sum, load_bytes(x[i / 4].sum[i % 4]));
      _mm512_store_ps(sums, _mm512_cvtepi32_ps(sum));
    }
    const auto one = [&](int t) __attribute__((always_inline)) {
      const Ints dot = _mm512_add_epi32(_mm512_slli_epi32(load_bytes(h + 16 * t), 8), load_bytes(l + 16 * t));
      acc[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, acc[t]);
      if constexpr (MINIMA) acc[t] = _mm512_fmadd_ps(minimum, broadcast(sums + t), acc[t]);
    };
    if constexpr (TOKENS > 0) {
      SPARING_UNROLL
      for (int t = 0; t < TOKENS; ++t) one(t);
    } else {
      for (int t = 0; t < tokens; ++t) one(t);
    }
  };
  // Two segments at a time; at the row's end the second may be empty (length 0), and is left out.
  Walk now[2];
  now[1].next(segments);
  start.template operator()<0>(now[0]);
  start.template operator()<1>(now[1]);
  store<0>(high[0][0], low[0][0]);
  store<1>(high[0][1], low[0][1]);
  for (int at = 0; now[0].unit < segments.units; at ^= 1) {
    Walk then[2] = {now[1], now[1]};
    then[0].next(segments);
    then[1] = then[0];
    then[1].next(segments);
    start.template operator()<0>(then[0]);
    start.template operator()<1>(then[1]);
    scale_one(now[0], high[at][0], low[at][0]);
    store<0>(high[at ^ 1][0], low[at ^ 1][0]);
    if (now[1].unit < segments.units) scale_one(now[1], high[at][1], low[at][1]);
    store<1>(high[at ^ 1][1], low[at ^ 1][1]);
    now[0] = then[0];
    now[1] = then[1];
  }
  SPARING_UNROLL
  for (int t = 0; t < kTileTokens; ++t) out[t] = _mm512_mul_ps(acc[t], broadcast(x[0].scale + t));
}

template <int QUADS, bool MINIMA>
void gemm(const IntWeight& w, const Q16Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
          std::int64_t end, std::byte* scratch) {
  const TileConfig config = config_for(QUADS);
  load_config(config);
  const Segments segments = segments_of<QUADS>(w);
  const std::int64_t panel_bytes = w.layout.blocks * 512;
  const std::int64_t blocks = (w.cols + kWideInputs - 1) / kWideInputs;
  std::byte* codes = scratch;
  scratch += 2 * panel_bytes;
  const Panel panels[2] = {{codes, take_groups(w, scratch)}, {codes + panel_bytes, take_groups(w, scratch)}};
  const std::int64_t chunk = tokens_in_cache(blocks * static_cast<std::int64_t>(sizeof(Q16Block)));
  for (std::int64_t from = 0; from < tokens; from += chunk) {
    const std::int64_t to = from + chunk < tokens ? from + chunk : tokens;
    for (std::int64_t p = begin; p < end; p += 2) {
      const int count = p + 1 < end ? 2 : 1;
      for (int i = 0; i < count; ++i) unpack_signed(w, p + i, panels[i].groups, codes + i * panel_bytes);
      for (std::int64_t t = from; t < to; t += kTileTokens) {
        const Q16Block* xt = x + t / kTileTokens * blocks;
        const int some = to - t < kTileTokens ? static_cast<int>(to - t) : kTileTokens;
        for (int i = 0; i < count; ++i) {
          Floats acc[kTileTokens];
          if (some == kTileTokens) {
            tile<QUADS, MINIMA, kTileTokens>(segments, panels[i], xt, some, acc);
          } else {
            tile<QUADS, MINIMA, 0>(segments, panels[i], xt, some, acc);
          }
          const std::int64_t row = (p + i) * 16;
          for (int k = 0; k < some; ++k) store_rows(out, t + k, row, rows_left(w.rows, row), acc[k]);
        }
      }
    }
  }
  _tile_release();
}

template <int QUADS>
void choose(const IntWeight& w, const Q16Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
            std::int64_t end, std::byte* scratch) {
  has_minima(w) ? gemm<QUADS, true>(w, x, tokens, out, begin, end, scratch)
                : gemm<QUADS, false>(w, x, tokens, out, begin, end, scratch);
}

}  // namespace

void wide_panels(const IntWeight& w, const Q16Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
                 std::int64_t end, std::byte* scratch) {
  if (tokens < kFewestTokens || !fits(w)) return avx512::wide_panels(w, x, tokens, out, begin, end, scratch);
  if (w.segments == SegmentKind::half) return choose<4>(w, x, tokens, out, begin, end, scratch);
  const bool even = w.blocks_per_group % 2 == 0 || w.blocks_per_group >= w.layout.blocks;
  even ? choose<16>(w, x, tokens, out, begin, end, scratch) : choose<8>(w, x, tokens, out, begin, end, scratch);
}

}  // namespace sparing::kernels::amx
