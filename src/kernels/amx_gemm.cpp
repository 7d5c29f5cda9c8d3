// Prompts on AMX: tiles of 16 tokens x 16 rows x one segment of inputs in int32, signed activations times unsigned
// codes, then the scales and zeros of q8.h in AVX-512.

#include "kernels/amx.h"
#include "kernels/amx_common.h"

namespace sparing::kernels::amx {
namespace {

// Tiles 0, 1: sums. 2, 3: activations. 4, 5: weights. Even and odd segments alternate, so that the tile unit works on
// one while the vector unit scales the other.
TileConfig config_for(int quads) {
  TileConfig c;
  for (int i = 0; i < 2; ++i) {
    c.rows[i] = kTileTokens;
    c.bytes[i] = 64;
    c.rows[2 + i] = kTileTokens;
    c.bytes[2 + i] = static_cast<std::uint16_t>(4 * quads);
    c.rows[4 + i] = static_cast<std::uint8_t>(quads);
    c.bytes[4 + i] = 64;
  }
  return c;
}

template <int PARITY>
inline void multiply(const std::int8_t* x, const std::byte* codes, std::int32_t* sums) {
  if constexpr (PARITY == 0) {
    _tile_zero(0);
    _tile_loadd(2, x, 32);
    _tile_loadd(4, codes, 64);
    _tile_dpbsud(0, 2, 4);
    _tile_stored(0, sums, 64);
  } else {
    _tile_zero(1);
    _tile_loadd(3, x, 32);
    _tile_loadd(5, codes, 64);
    _tile_dpbsud(1, 3, 5);
    _tile_stored(1, sums, 64);
  }
}

/// A group's sums so far (q8.h), and those of the groups before it: 16 tokens x 16 rows. TOKENS is 16, or 0: `tokens`.
template <int TOKENS>
struct Sums {
  Floats acc[kTileTokens], part[kTileTokens], total;

  template <class F>
  static inline void each(int tokens, const F& f) {
    if constexpr (TOKENS > 0) {
      SPARING_UNROLL
      for (int t = 0; t < TOKENS; ++t) f(t);
    } else {
      for (int t = 0; t < tokens; ++t) f(t);
    }
  }
  inline void clear_group() {
    SPARING_UNROLL
    for (int t = 0; t < kTileTokens; ++t) part[t] = _mm512_setzero_ps();
    total = _mm512_setzero_ps();
  }
  inline void clear() {
    clear_group();
    SPARING_UNROLL
    for (int t = 0; t < kTileTokens; ++t) acc[t] = _mm512_setzero_ps();
  }
  inline void add(const std::int32_t* sums, const Q8Block& x, int segment_sum, int tokens) {
    each(
        tokens, [&](int t) __attribute__((always_inline)) {
          part[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(load_bytes(sums + 16 * t)), broadcast(x.scale + t), part[t]);
        });
    total = _mm512_add_ps(total, _mm512_loadu_ps(x.scaled_sum[segment_sum]));
  }
  template <bool MINIMA>
  inline void end_group(const float* scale, const float* second, int tokens) {
    alignas(64) float totals[kTileTokens];
    _mm512_store_ps(totals, total);
    const Floats s = _mm512_loadu_ps(scale), other = _mm512_loadu_ps(second);
    each(
        tokens, [&](int t) __attribute__((always_inline)) {
          acc[t] = add_group<MINIMA>(acc[t], part[t], broadcast(totals + t), s, other);
        });
    clear_group();
  }
};

/// 16 tokens (or, TOKENS 0, fewer) x 16 rows.
template <bool HALF, bool MINIMA, int TOKENS>
void tile(const IntWeight& w, const Panel& panel, const Q8Block* x, int tokens, Sums<TOKENS>& out) {
  constexpr int kSegments = HALF ? 2 : 1, kQuads = 8 / kSegments;
  alignas(64) std::int32_t sums[2][256];
  out.clear();
  // A group of 16 that is all padding does not exist.
  const std::int64_t steps = HALF ? w.layout.groups : w.layout.blocks;
  const float *scale = panel.groups.scale, *second = panel.groups.second;
  std::int32_t left = HALF ? 1 : w.blocks_per_group;
  const auto start = [&](std::int64_t step) __attribute__((always_inline)) {
    const std::int64_t b = step / kSegments, s = step % kSegments;
    const std::int8_t* codes_x = x[b].codes[0] + 16 * s;
    const std::byte* codes_w = panel.codes + b * 512 + s * (64 * kQuads);
    if (step % 2 == 0) {
      multiply<0>(codes_x, codes_w, sums[0]);
    } else {
      multiply<1>(codes_x, codes_w, sums[1]);
    }
  };
  start(0);
  for (std::int64_t step = 0; step < steps; ++step) {
    if (step + 1 < steps) start(step + 1);
    out.add(sums[step % 2], x[step / kSegments], HALF ? 1 + static_cast<int>(step % 2) : 0, tokens);
    if (--left == 0 || step + 1 == steps) {
      out.template end_group<MINIMA>(scale, second, tokens);
      scale += 16;
      second += panel.groups.step;
      left = HALF ? 1 : w.blocks_per_group;
    }
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
          const auto run = [&](auto& sums) {
            tile<HALF, MINIMA>(w, panels[i], xt, some, sums);
            for (int k = 0; k < some; ++k) store_rows(out, t + k, row, rows_left(w.rows, row), sums.acc[k]);
          };
          if (some == kTileTokens) {
            Sums<kTileTokens> sums;
            run(sums);
          } else {
            Sums<0> sums;
            run(sums);
          }
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
                               .sign_panel = avx512::sign_panel};

}  // namespace sparing::kernels
