// Prompts on AMX: tiles of 16 tokens x 16 rows x one segment of inputs in int32, then the scales of q8.h in AVX-512.
// Weights become signed bytes as they are unpacked, their zero subtracted, which is exact: sum (code - z) * x.

#include "kernels/amx.h"
#include "kernels/amx_common.h"

namespace sparing::kernels::amx {
namespace {

// Segments that are in flight together: a tile product's result is ready only after some fifty cycles, and tiles are not
// renamed, so four products are started before the first is stored, and the vector unit scales the four before them
// meanwhile.
constexpr int kInFlight = 4;

// Tiles 0 to 3: sums. 4, 5: activations. 6, 7: weights.
TileConfig config_for(int quads) {
  TileConfig c;
  for (int i = 0; i < kInFlight; ++i) {
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

// The intrinsics want literal tile numbers.
template <int TILE>
inline void start(const std::int8_t* x, const std::byte* codes) {
  if constexpr (TILE % 2 == 0) {
    _tile_loadd(4, x, 32);
    _tile_loadd(6, codes, 64);
  } else {
    _tile_loadd(5, x, 32);
    _tile_loadd(7, codes, 64);
  }
  if constexpr (TILE == 0) {
    _tile_zero(0);
    _tile_dpbssd(0, 4, 6);
  } else if constexpr (TILE == 1) {
    _tile_zero(1);
    _tile_dpbssd(1, 5, 7);
  } else if constexpr (TILE == 2) {
    _tile_zero(2);
    _tile_dpbssd(2, 4, 6);
  } else {
    _tile_zero(3);
    _tile_dpbssd(3, 5, 7);
  }
}

template <bool MINIMA, int TOKENS>
inline void scale_sums(const std::int32_t* sums, const Q8Block& x, int segment_sum, const float* scale,
                       const float* minimum, int tokens, Floats* acc) {
  const Floats s = _mm512_loadu_ps(scale);
  Floats m = _mm512_setzero_ps();
  if constexpr (MINIMA) m = _mm512_loadu_ps(minimum);
  const auto one = [&](int t) __attribute__((always_inline)) {
    const Floats d = _mm512_cvtepi32_ps(load_bytes(sums + 16 * t));
    acc[t] = _mm512_fmadd_ps(d, _mm512_mul_ps(s, broadcast(x.scale + t)), acc[t]);
    if constexpr (MINIMA) acc[t] = _mm512_fmadd_ps(m, broadcast(x.scaled_sum[segment_sum] + t), acc[t]);
  };
  if constexpr (TOKENS > 0) {
    SPARING_UNROLL
    for (int t = 0; t < TOKENS; ++t) one(t);
  } else {
    for (int t = 0; t < tokens; ++t) one(t);
  }
}

/// 16 tokens (or, TOKENS 0, fewer) x 16 rows.
template <bool HALF, bool MINIMA, int TOKENS>
void tile(const IntWeight& w, const Panel& panel, const Q8Block* x, int tokens, Floats* out) {
  constexpr int kSegments = HALF ? 2 : 1, kQuads = 8 / kSegments;
  alignas(64) std::int32_t sums[2][kInFlight][256];
  Floats acc[kTileTokens];
  SPARING_UNROLL
  for (int t = 0; t < kTileTokens; ++t) acc[t] = _mm512_setzero_ps();
  const std::int64_t steps = w.layout.blocks * kSegments;
  const float *scale = panel.groups.scale, *minimum = panel.groups.second;
  std::int32_t left = HALF ? 1 : w.blocks_per_group;
  const auto start_one = [&]<int TILE>(std::int64_t step) __attribute__((always_inline)) {
    if (step >= steps) return;
    const std::int64_t b = step / kSegments, s = step % kSegments;
    start<TILE>(x[b].codes[0] + 16 * s, panel.codes + b * 512 + s * (64 * kQuads));
  };
  const auto start_all = [&](std::int64_t step) __attribute__((always_inline)) {
    start_one.template operator()<0>(step);
    start_one.template operator()<1>(step + 1);
    start_one.template operator()<2>(step + 2);
    start_one.template operator()<3>(step + 3);
  };
  const auto scale_one = [&](std::int64_t step, const std::int32_t* from) __attribute__((always_inline)) {
    if (step >= steps) return;
    scale_sums<MINIMA, TOKENS>(from, x[step / kSegments], HALF ? 1 + static_cast<int>(step % 2) : 0, scale, minimum,
                               tokens, acc);
    if (--left == 0) {
      scale += 16;
      minimum += panel.groups.step;
      left = HALF ? 1 : w.blocks_per_group;
    }
  };
  // Stores of tiles that hold nothing new are harmless.
  start_all(0);
  store_tile<0>(sums[0][0]);
  store_tile<1>(sums[0][1]);
  store_tile<2>(sums[0][2]);
  store_tile<3>(sums[0][3]);
  int now = 0;
  for (std::int64_t step = 0; step < steps; step += kInFlight, now ^= 1) {
    start_all(step + kInFlight);
    auto& next = sums[now ^ 1];
    scale_one(step, sums[now][0]);
    store_tile<0>(next[0]);
    scale_one(step + 1, sums[now][1]);
    store_tile<1>(next[1]);
    scale_one(step + 2, sums[now][2]);
    store_tile<2>(next[2]);
    scale_one(step + 3, sums[now][3]);
    store_tile<3>(next[3]);
  }
  SPARING_UNROLL
  for (int t = 0; t < kTileTokens; ++t) out[t] = acc[t];
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
        unpack_signed(w, p + i, panels[i].groups, codes + i * panel_bytes);
      }
      for (std::int64_t t = from; t < to; t += kTileTokens) {
        const Q8Block* xt = x + t / kTileTokens * w.layout.blocks;
        const int some = to - t < kTileTokens ? static_cast<int>(to - t) : kTileTokens;
        for (int i = 0; i < count; ++i) {
          Floats acc[kTileTokens];
          if (some == kTileTokens) {
            tile<HALF, MINIMA, kTileTokens>(w, panels[i], xt, some, acc);
          } else {
            tile<HALF, MINIMA, 0>(w, panels[i], xt, some, acc);
          }
          const std::int64_t row = (p + i) * 16;
          for (int k = 0; k < some; ++k) store_rows(out, t + k, row, rows_left(w.rows, row), acc[k]);
        }
      }
    }
  }
  _tile_release();
}

}  // namespace

void int_panels(const IntWeight& w, const Q8Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
                std::int64_t end, std::byte* scratch) {
  if (tokens < kFewestTokens || !fits(w)) return avx512::int_panels(w, x, tokens, out, begin, end, scratch);
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
                               .quantise_wide = avx512::quantise_wide};

}  // namespace sparing::kernels
