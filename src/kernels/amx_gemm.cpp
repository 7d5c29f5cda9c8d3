// Prompts on AMX: tiles of 16 tokens x 16 rows x one segment of inputs in int32, signed activations times unsigned
// codes, then the scales and zeros of q8.h in AVX-512.

#include "kernels/amx.h"
#include "kernels/amx_common.h"

namespace sparing::kernels::amx {
namespace {

// Tiles 0 to 3: sums. 4, 5: activations. 6, 7: weights. A product takes some fifty cycles and what is stored can be
// loaded again only later, so three segments are under way while the vector unit scales a fourth.
constexpr int kUnderWay = 4;
TileConfig config_for(int quads) {
  TileConfig c;
  for (int i = 0; i < kUnderWay; ++i) {
    c.rows[i] = kTileTokens;
    c.bytes[i] = 64;
  }
  for (int i = 0; i < 2; ++i) {
    c.rows[4 + i] = kTileTokens;
    c.bytes[4 + i] = static_cast<std::uint16_t>(4 * quads);
    c.rows[6 + i] = static_cast<std::uint8_t>(quads);
    c.bytes[6 + i] = 64;
  }
  return c;
}

/// The tile's number must be written out.
#define SPARING_MULTIPLY(sums, x_tile, code_tile) \
  _tile_zero(sums);                               \
  _tile_loadd(x_tile, x, 32);                     \
  _tile_loadd(code_tile, codes, 64);              \
  _tile_dpbsud(sums, x_tile, code_tile)
template <int PLACE>
inline void multiply(const std::int8_t* x, const std::byte* codes) {
  if constexpr (PLACE == 0) {
    SPARING_MULTIPLY(0, 4, 6);
  } else if constexpr (PLACE == 1) {
    SPARING_MULTIPLY(1, 5, 7);
  } else if constexpr (PLACE == 2) {
    SPARING_MULTIPLY(2, 4, 6);
  } else {
    SPARING_MULTIPLY(3, 5, 7);
  }
}
#undef SPARING_MULTIPLY
template <int PLACE>
inline void store(std::int32_t* sums) {
  if constexpr (PLACE == 0) {
    _tile_stored(0, sums, 64);
  } else if constexpr (PLACE == 1) {
    _tile_stored(1, sums, 64);
  } else if constexpr (PLACE == 2) {
    _tile_stored(2, sums, 64);
  } else {
    _tile_stored(3, sums, 64);
  }
}

/// 16 tokens x 16 rows; those of tokens that there are not hold anything.
template <bool HALF, bool MINIMA>
void tile(const IntWeight& w, const Panel& panel, const Q8Block* x, float (&acc)[kTileTokens][16]) {
  constexpr int kSegments = HALF ? 2 : 1, kQuads = 8 / kSegments;
  alignas(64) std::int32_t sums[kUnderWay][256];
  // A group of 16 that is all padding does not exist.
  const std::int64_t steps = HALF ? w.layout.groups : w.layout.blocks;
  const std::int64_t group_steps = HALF ? 1 : w.blocks_per_group;
  const auto start = [&]<int PLACE>(std::int64_t step) __attribute__((always_inline)) {
    if (step >= steps) return;
    const std::int64_t b = step / kSegments, s = step % kSegments;
    multiply<PLACE>(x[b].codes[0] + 16 * s, panel.codes + b * 512 + s * (64 * kQuads));
  };
  // Starts the third step from here and stores the next one's sums. A step's place is step % kUnderWay.
  const auto advance = [&]<int PLACE>(std::int64_t step) __attribute__((always_inline)) {
    start.template operator()<(PLACE + 3) % kUnderWay>(step + 3);
    if (step + 1 < steps) store<(PLACE + 1) % kUnderWay>(sums[(PLACE + 1) % kUnderWay]);
  };
  start.template operator()<0>(0);
  start.template operator()<1>(1);
  start.template operator()<2>(2);
  store<0>(sums[0]);
  const float *scale = panel.groups.scale, *second = panel.groups.second;
  for (std::int64_t step = 0; step < steps;) {
    const std::int64_t stop = step + group_steps < steps ? step + group_steps : steps;
    Floats part[kTileTokens], total = _mm512_setzero_ps();
    SPARING_UNROLL
    for (int t = 0; t < kTileTokens; ++t) part[t] = _mm512_setzero_ps();
    for (; step < stop; ++step) {
      switch (step % kUnderWay) {
        case 0:
          advance.template operator()<0>(step);
          break;
        case 1:
          advance.template operator()<1>(step);
          break;
        case 2:
          advance.template operator()<2>(step);
          break;
        default:
          advance.template operator()<3>(step);
      }
      const Q8Block& block = x[step / kSegments];
      const std::int32_t* dots = sums[step % kUnderWay];
      SPARING_UNROLL
      for (int t = 0; t < kTileTokens; ++t)
        part[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(load_bytes(dots + 16 * t)), broadcast(block.scale + t), part[t]);
      total = _mm512_add_ps(total, _mm512_loadu_ps(block.scaled_sum[HALF ? 1 + step % 2 : 0]));
    }
    alignas(64) float totals[kTileTokens];
    _mm512_store_ps(totals, total);
    const Floats s = _mm512_loadu_ps(scale), other = _mm512_loadu_ps(second);
    const bool begins = scale == panel.groups.scale;
    SPARING_UNROLL
    for (int t = 0; t < kTileTokens; ++t) {
      const Floats before = begins ? _mm512_setzero_ps() : _mm512_load_ps(acc[t]);
      _mm512_store_ps(acc[t], add_group<MINIMA>(before, part[t], broadcast(totals + t), s, other));
    }
    scale += 16;
    second += panel.groups.step;
  }
}

template <bool HALF, bool MINIMA>
void gemm(const IntWeight& w, const Q8Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
          std::int64_t end, std::byte* scratch) {
  const TileConfig config = config_for(HALF ? 4 : 8);
  load_config(config);
  const std::int64_t panel_bytes = w.layout.blocks * 512;
  std::byte* codes = scratch;
  scratch += 2 * panel_bytes;
  const Panel panels[2] = {{codes, take_groups(w, scratch)}, {codes + panel_bytes, take_groups(w, scratch)}};
  const std::int64_t chunk = tokens_in_cache(w.layout.blocks * static_cast<std::int64_t>(sizeof(Q8Block)));
  for (std::int64_t from = 0; from < tokens; from += chunk) {
    const std::int64_t to = from + chunk < tokens ? from + chunk : tokens;
    for (std::int64_t p = begin; p < end; p += 2) {
      const int count = p + 1 < end ? 2 : 1;
      for (int i = 0; i < count; ++i) {
        avx512::unpack_panel(w, p + i, codes + i * panel_bytes);
        decode_groups(w, p + i, panels[i].groups);
        written(codes);
      }
      for (std::int64_t t = from; t < to; t += kTileTokens) {
        const Q8Block* xt = x + t / kTileTokens * w.layout.blocks;
        const int some = to - t < kTileTokens ? static_cast<int>(to - t) : kTileTokens;
        for (int i = 0; i < count; ++i) {
          const std::int64_t row = (p + i) * 16;
          alignas(64) float acc[kTileTokens][16];
          // Stores that wait for their lines would hold up those of the tile unit.
          for (int k = 0; k < some; ++k) __builtin_prefetch(out.y + (t + k) * out.stride + row, 1);
          tile<HALF, MINIMA>(w, panels[i], xt, acc);
          for (int k = 0; k < some; ++k) store_rows(out, t + k, row, rows_left(w.rows, row), _mm512_load_ps(acc[k]));
        }
      }
    }
  }
  _tile_release();
}

}  // namespace

void int_panels(const IntWeight& w, const Q8Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
                std::int64_t end, std::byte* scratch) {
  const bool cut = w.segments == SegmentKind::whole || w.segments == SegmentKind::half;
  if (tokens < kFewestTokens || !cut) return avx512::int_panels(w, x, tokens, out, begin, end, scratch);
  const bool minima = has_minima(w);
  if (w.segments == SegmentKind::half)
    return minima ? gemm<true, true>(w, x, tokens, out, begin, end, scratch)
                  : gemm<true, false>(w, x, tokens, out, begin, end, scratch);
  return minima ? gemm<false, true>(w, x, tokens, out, begin, end, scratch)
                : gemm<false, false>(w, x, tokens, out, begin, end, scratch);
}

}  // namespace sparing::kernels::amx

namespace sparing::kernels {

const KernelSet amx_kernels = {.int_panels = amx::int_panels,
                               .dense_panels = avx512::dense_panels,
                               .csr_panels = avx512::csr_panels,
                               .quantise = avx512::quantise,
                               .wide_panels = amx::wide_panels,
                               .quantise_wide = avx512::quantise_wide,
                               .factor_inner = avx512::factor_inner,
                               .factor_outer = avx512::factor_outer,
                               .sign_panel = avx512::sign_panel,
                               .rotate = avx512::rotate};

}  // namespace sparing::kernels
