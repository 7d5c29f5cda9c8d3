// Int16 activations (q16.h) on AMX: high and low bytes are two tile products over the same weights, of up to 128 inputs
// each; they are joined and scaled in AVX-512 once a segment.

#include "kernels/amx.h"
#include "kernels/amx_common.h"

namespace sparing::kernels::amx {
namespace {

// Tiles 0, 1 and 2, 3: sums of the high and low bytes for even and odd segments, so that the tile unit works on one
// while the vector unit scales the other. 4, 5: activations. 6: weights.
TileConfig config_for(int quads) {
  TileConfig c;
  for (int i = 0; i < 6; ++i) {
    c.rows[i] = kTileTokens;
    c.bytes[i] = i < 4 ? 64 : static_cast<std::uint16_t>(4 * quads);
  }
  c.rows[6] = static_cast<std::uint8_t>(quads);
  c.bytes[6] = 64;
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

template <int QUADS, int PARITY>
inline void multiply(const Q16Block* x, const std::byte* codes, std::int32_t unit, std::int32_t units,
                     std::int32_t* high, std::int32_t* low) {
  if constexpr (PARITY == 0) {
    _tile_zero(0);
    _tile_zero(1);
  } else {
    _tile_zero(2);
    _tile_zero(3);
  }
  for (std::int32_t u = unit; u < unit + units; ++u) {
    const std::int32_t input = 4 * QUADS * u;
    const Q16Block& block = x[input / kWideInputs];
    _tile_loadd(4, block.high[0] + input % kWideInputs, kWideInputs);
    _tile_loadd(5, block.low[0] + input % kWideInputs, kWideInputs);
    _tile_loadd(6, codes + static_cast<std::ptrdiff_t>(u) * (64 * QUADS), 64);
    if constexpr (PARITY == 0) {
      _tile_dpbssd(0, 4, 6);
      _tile_dpbssd(1, 5, 6);
    } else {
      _tile_dpbssd(2, 4, 6);
      _tile_dpbssd(3, 5, 6);
    }
  }
  if constexpr (PARITY == 0) {
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
  alignas(64) std::int32_t high[2][256], low[2][256];
  Floats acc[kTileTokens];
  SPARING_UNROLL
  for (int t = 0; t < kTileTokens; ++t) acc[t] = _mm512_setzero_ps();
  const auto start = [&](int parity, const Walk& at) __attribute__((always_inline)) {
    if (parity == 0) {
      multiply<QUADS, 0>(x, panel.codes, at.unit, at.length(segments), high[0], low[0]);
    } else {
      multiply<QUADS, 1>(x, panel.codes, at.unit, at.length(segments), high[1], low[1]);
    }
  };
  Walk now;
  start(0, now);
  for (int parity = 0; now.unit < segments.units; parity ^= 1) {
    Walk then = now;
    then.next(segments);
    if (then.unit < segments.units) start(parity ^ 1, then);
    const Floats scale = _mm512_loadu_ps(panel.groups.scale + 16 * now.group);
    Floats minimum = _mm512_setzero_ps();
    alignas(64) float sums[kTileTokens];
    if constexpr (MINIMA) {
      minimum = _mm512_loadu_ps(panel.groups.second + panel.groups.step * now.group);
      Ints sum = _mm512_setzero_si512();
      for (std::int32_t i = now.unit * QUADS / 4; i < then.unit * QUADS / 4; ++i)
        sum = _mm512_add_epi32(sum, load_bytes(x[i / 4].sum[i % 4]));
      _mm512_store_ps(sums, _mm512_cvtepi32_ps(sum));
    }
    const auto one = [&](int t) __attribute__((always_inline)) {
      const Ints dot =
          _mm512_add_epi32(_mm512_slli_epi32(load_bytes(high[parity] + 16 * t), 8), load_bytes(low[parity] + 16 * t));
      acc[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot), scale, acc[t]);
      if constexpr (MINIMA) acc[t] = _mm512_fmadd_ps(minimum, broadcast(sums + t), acc[t]);
    };
    if constexpr (TOKENS > 0) {
      SPARING_UNROLL
      for (int t = 0; t < TOKENS; ++t) one(t);
    } else {
      for (int t = 0; t < tokens; ++t) one(t);
    }
    now = then;
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
