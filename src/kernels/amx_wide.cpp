// Int16 activations (q16.h) on AMX: high and low bytes are two tile products over the same weights, of up to 128 inputs
// each; they are joined and scaled in AVX-512 once a segment.

#include "kernels/amx.h"
#include "kernels/amx_common.h"

namespace sparing::kernels::amx {
namespace {

// Tiles 0, 1 and 2, 3: sums of the high and low bytes of two segments. 4, 5: activations. 6, 7: weights.
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

/// A segment: QUADS quads of inputs, what one tile product takes in, are a unit.
struct Piece {
  std::int32_t unit, units;  ///< of the row
  std::int32_t group;
};

/// Cuts a row into its segments, at `pieces`; their number.
template <int QUADS>
std::int64_t cut(const IntWeight& w, Piece* pieces) {
  const auto all = static_cast<std::int32_t>((w.layout.blocks * 8 + QUADS - 1) / QUADS);
  std::int32_t group_units = w.blocks_per_group >= w.layout.blocks ? all : w.blocks_per_group * 8 / QUADS;
  std::int32_t longest = 8 * kWideBlocksPerPiece / QUADS;
  if (QUADS == 4) group_units = longest = 1;  // groups of 16
  std::int64_t count = 0;
  for (std::int32_t group = 0, unit = 0; unit < all; ++group) {
    const std::int32_t end = all - unit < group_units ? all : unit + group_units;
    while (unit < end) {
      const std::int32_t units = end - unit < longest ? end - unit : longest;
      pieces[count++] = {unit, units, group};
      unit += units;
    }
  }
  return count;
}

/// Into tiles 0 and 1 or 2 and 3.
template <int QUADS, int PLACE>
inline void multiply(const Q16Block* x, const std::byte* codes, const Piece& piece) {
  if constexpr (PLACE == 0) {
    _tile_zero(0);
    _tile_zero(1);
  } else {
    _tile_zero(2);
    _tile_zero(3);
  }
  const auto one = [&](std::int32_t unit) __attribute__((always_inline)) {
    const std::int32_t input = 4 * QUADS * unit;
    const Q16Block& block = x[input / kWideInputs];
    const std::byte* weights = codes + static_cast<std::ptrdiff_t>(unit) * (64 * QUADS);
    _tile_loadd(4, block.high[0] + input % kWideInputs, kWideInputs);
    if constexpr (PLACE == 0) {
      _tile_loadd(6, weights, 64);
      _tile_dpbssd(0, 4, 6);
      _tile_loadd(5, block.low[0] + input % kWideInputs, kWideInputs);
      _tile_dpbssd(1, 5, 6);
    } else {
      _tile_loadd(7, weights, 64);
      _tile_dpbssd(2, 4, 7);
      _tile_loadd(5, block.low[0] + input % kWideInputs, kWideInputs);
      _tile_dpbssd(3, 5, 7);
    }
  };
  one(piece.unit);
  if (piece.units == 1) return;
  one(piece.unit + 1);  // most segments have two: nothing is left to guess
  for (std::int32_t u = 2; u < piece.units; ++u) one(piece.unit + u);
}

/// What stored tiles hold, of 16 tokens x 16 rows.
struct alignas(64) Sums {
  std::int32_t high[256], low[256];
};
template <int PLACE>
inline void store(Sums& sums) {
  if constexpr (PLACE == 0) {
    _tile_stored(0, sums.high, 64);
    _tile_stored(1, sums.low, 64);
  } else {
    _tile_stored(2, sums.high, 64);
    _tile_stored(3, sums.low, 64);
  }
}

/// acc: what a segment adds to 16 tokens' results.
template <int QUADS, bool MINIMA>
inline __attribute__((always_inline)) void scale(const Sums& dots, const Groups& groups, const Piece& piece,
                                                 const Q16Block* x, Floats (&acc)[kTileTokens]) {
  const Floats s = _mm512_loadu_ps(groups.scale + 16 * piece.group);
  SPARING_UNROLL
  for (int t = 0; t < kTileTokens; ++t) {
    const Ints high = _mm512_slli_epi32(load_bytes(dots.high + 16 * t), 8);
    acc[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_add_epi32(high, load_bytes(dots.low + 16 * t))), s, acc[t]);
  }
  if constexpr (MINIMA) {
    alignas(64) float totals[kTileTokens];
    const Floats minimum = _mm512_loadu_ps(groups.second + groups.step * piece.group);
    Ints sum = _mm512_setzero_si512();
    const std::int32_t first = piece.unit * QUADS / 4, last = first + piece.units * QUADS / 4;
    for (std::int32_t i = first; i < last; ++i) sum = _mm512_add_epi32(sum, load_bytes(x[i / 4].sum[i % 4]));
    _mm512_store_ps(totals, _mm512_cvtepi32_ps(sum));
    SPARING_UNROLL
    for (int t = 0; t < kTileTokens; ++t) acc[t] = _mm512_fmadd_ps(minimum, broadcast(totals + t), acc[t]);
  }
}

/// Results of up to 16 tokens from `token` on, 16 rows from `row` on. Unmasked where that will do: masked stores were
/// slower here.
inline void write(const Output& out, std::int64_t token, std::int64_t tokens, std::int64_t row, __mmask16 rows,
                  const float (&results)[kTileTokens][16]) {
  if (!out.add && out.bias == nullptr && rows == 0xFFFF) {
    float* y = out.y + token * out.stride + row;
    for (std::int64_t t = 0; t < tokens; ++t, y += out.stride) _mm512_storeu_ps(y, _mm512_load_ps(results[t]));
  } else {
    for (std::int64_t t = 0; t < tokens; ++t) store_rows(out, token + t, row, rows, _mm512_load_ps(results[t]));
  }
}

/// A weight's one or two panels from `first` on, unpacked.
struct Panels {
  const Panel* panel;
  int count;
  std::int64_t first, rows;
  const Piece *pieces, *end;
};

/// Tokens [from, to) of x, `blocks` of them a tile. The tile unit is one segment ahead of the vector unit, also from a
/// panel to the next and from a tile of tokens to the next: a product takes some fifty cycles.
template <int QUADS, bool MINIMA>
void multiply_panels(const Panels& p, const Q16Block* x, std::int64_t blocks, std::int64_t from, std::int64_t to,
                     const Output& out) {
  Sums sums[2];
  bool second = false;  // where the segment to be scaled is
  multiply<QUADS, 0>(x + from / kTileTokens * blocks, p.panel[0].codes, *p.pieces);
  store<0>(sums[0]);
  for (std::int64_t token = from; token < to; token += kTileTokens) {
    const Q16Block* const xt = x + token / kTileTokens * blocks;
    for (int i = 0; i < p.count; ++i) {
      const bool last_panel = i + 1 == p.count, more = !last_panel || token + kTileTokens < to;
      const Q16Block* const next_x = last_panel ? xt + blocks : xt;
      const std::byte* const next_codes = p.panel[last_panel ? 0 : i + 1].codes;
      Floats acc[kTileTokens];
      SPARING_UNROLL
      for (int t = 0; t < kTileTokens; ++t) acc[t] = _mm512_setzero_ps();
      for (const Piece* piece = p.pieces; piece != p.end; ++piece, second = !second) {
        const bool within = piece + 1 != p.end, ahead = within || more;
        const Q16Block* const ahead_x = within ? xt : next_x;
        const std::byte* const ahead_codes = within ? p.panel[i].codes : next_codes;
        const Piece& ahead_piece = within ? piece[1] : *p.pieces;
        if (ahead) {
          if (second) {
            multiply<QUADS, 0>(ahead_x, ahead_codes, ahead_piece);
          } else {
            multiply<QUADS, 1>(ahead_x, ahead_codes, ahead_piece);
          }
        }
        scale<QUADS, MINIMA>(sums[second ? 1 : 0], p.panel[i].groups, *piece, xt, acc);
        if (ahead) {
          if (second) {
            store<0>(sums[0]);
          } else {
            store<1>(sums[1]);
          }
        }
      }
      alignas(64) float results[kTileTokens][16];
      SPARING_UNROLL
      for (int t = 0; t < kTileTokens; ++t)
        _mm512_store_ps(results[t], _mm512_mul_ps(acc[t], broadcast(xt[0].scale + t)));
      const std::int64_t row = (p.first + i) * 16, left = to - token;
      write(out, token, left < kTileTokens ? left : kTileTokens, row, rows_left(p.rows, row), results);
    }
  }
}

template <int QUADS, bool MINIMA>
void gemm(const IntWeight& w, const Q16Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
          std::int64_t end, std::byte* scratch) {
  const TileConfig config = config_for(QUADS);
  load_config(config);
  const std::int64_t panel_bytes = w.layout.blocks * 512;
  const std::int64_t blocks = (w.cols + kWideInputs - 1) / kWideInputs;
  std::byte* codes = scratch;
  scratch += 2 * panel_bytes;
  const Panel panels[2] = {{codes, take_groups(w, scratch)}, {codes + panel_bytes, take_groups(w, scratch)}};
  auto* const pieces = reinterpret_cast<Piece*>(scratch);
  const Piece* const pieces_end = pieces + cut<QUADS>(w, pieces);
  const std::int64_t chunk = tokens_in_cache(blocks * static_cast<std::int64_t>(sizeof(Q16Block)));
  for (std::int64_t from = 0; from < tokens; from += chunk) {
    const std::int64_t to = from + chunk < tokens ? from + chunk : tokens;
    for (std::int64_t p = begin; p < end; p += 2) {
      const int count = p + 1 < end ? 2 : 1;
      for (int i = 0; i < count; ++i) unpack_signed(w, p + i, panels[i].groups, codes + i * panel_bytes);
      multiply_panels<QUADS, MINIMA>({panels, count, p, w.rows, pieces, pieces_end}, x, blocks, from, to, out);
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
