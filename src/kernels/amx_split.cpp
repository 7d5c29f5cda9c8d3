// f32 products on AMX-BF16 (split_product.h). Twelve tile products of 32 tokens x 32 outputs to eight tiles loaded: the
// tile unit, not memory, sets the pace.

#include "kernels/amx_split.h"

#include <algorithm>

#include "kernels/amx_common.h"

namespace sparing::kernels::amx {
namespace {

constexpr std::int64_t kStepsAtOnce = 18;    // of two tiles by rows: 72 KiB
constexpr std::int64_t kTokensAtOnce = 512;  // of that many steps: 1.1 MiB

// Tiles 0 to 3: sums. 4, 5: tokens. 6, 7: weights.
TileConfig config() {
  TileConfig c;
  for (int i = 0; i < 8; ++i) {
    c.rows[i] = 16;
    c.bytes[i] = 64;
  }
  return c;
}

/// 16 values as bf16 in the lower halves of lanes.
inline Ints halves(Floats x) {
  return _mm512_cvtepu16_epi32(reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(x)));
}
inline Floats widened(Ints half) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(half, 16));
}
/// Both parts of 32 values, of which `count` are there, as 32 bf16 each.
inline void split(const float* from, std::int64_t count, Ints& high, Ints& low) {
  const auto mask = count >= 32 ? ~__mmask32{0} : static_cast<__mmask32>((std::uint64_t{1} << count) - 1);
  Ints of_high[2], of_low[2];
  SPARING_UNROLL
  for (int i = 0; i < 2; ++i) {
    const Floats x = _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask >> (16 * i)), from + 16 * i);
    of_high[i] = halves(x);
    of_low[i] = halves(_mm512_sub_ps(x, widened(of_high[i])));
  }
  const auto joined = [](const Ints(&v)[2]) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(v[0])), _mm512_cvtepi32_epi16(v[1]), 1);
  };
  high = joined(of_high);
  low = joined(of_low);
}

/// Sums of 32 tokens x 32 outputs over `steps` steps, at y (row stride `stride`); `more`: added to what is there.
inline void block(const std::byte* x, const std::byte* w, std::int64_t row_bytes, std::int64_t steps, bool more,
                  float* y, std::int64_t stride) {
  const std::int64_t bytes = stride * static_cast<std::int64_t>(sizeof(float));
  if (more) {
    _tile_loadd(0, y, bytes);
    _tile_loadd(1, y + 16, bytes);
    _tile_loadd(2, y + 16 * stride, bytes);
    _tile_loadd(3, y + 16 * stride + 16, bytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  const auto add = []() __attribute__((always_inline)) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  };
  for (std::int64_t step = 0; step < steps; ++step, x += kSplitPair, w += kSplitPair) {
    _tile_loadd(4, x, 64);
    _tile_loadd(5, x + row_bytes, 64);
    _tile_loadd(6, w + kSplitTile, 64);
    _tile_loadd(7, w + row_bytes + kSplitTile, 64);
    add();
    _tile_loadd(6, w, 64);
    _tile_loadd(7, w + row_bytes, 64);
    add();
    _tile_loadd(4, x + kSplitTile, 64);
    _tile_loadd(5, x + row_bytes + kSplitTile, 64);
    add();
  }
  _tile_stored(0, y, bytes);
  _tile_stored(1, y + 16, bytes);
  _tile_stored(2, y + 16 * stride, bytes);
  _tile_stored(3, y + 16 * stride + 16, bytes);
}

}  // namespace

void split_tokens(const float* x, std::int64_t rows, std::int64_t cols, std::int64_t stride, std::byte* tiles) {
  const std::int64_t steps = split_steps(cols), all = (rows + 31) / 32 * 32;
  for (std::int64_t r = 0; r < all; ++r) {
    std::byte* to = tiles + r / 16 * steps * kSplitPair + r % 16 * 64;
    for (std::int64_t step = 0; step < steps; ++step, to += kSplitPair) {
      Ints high = _mm512_setzero_si512(), low = high;
      if (r < rows) split(x + r * stride + 32 * step, cols - 32 * step, high, low);
      _mm512_storeu_si512(to, high);
      _mm512_storeu_si512(to + kSplitTile, low);
    }
  }
  written(tiles);
}

void split_weights(const float* w, std::int64_t rows, std::int64_t cols, std::byte* tiles) {
  const std::int64_t steps = split_steps(cols), all = (rows + 31) / 32 * 32;
  // Of a tile of weights a row is two inputs of all 16 outputs.
  for (std::int64_t r = 0; r < all; ++r) {
    std::byte* to = tiles + r / 16 * steps * kSplitPair + r % 16 * 4;
    for (std::int64_t step = 0; step < steps; ++step, to += kSplitPair) {
      Ints part[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
      if (r < rows) split(w + r * cols + 32 * step, cols - 32 * step, part[0], part[1]);
      const Ints places = _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                             _mm512_set1_epi32(16));
      for (int i = 0; i < 2; ++i) _mm512_i32scatter_epi32(to + i * kSplitTile, places, part[i], 4);
    }
  }
  written(tiles);
}

void split_multiply(const std::byte* x, std::int64_t tokens, const std::byte* w, std::int64_t outputs,
                    std::int64_t cols, float* y, std::int64_t stride) {
  const TileConfig tiles = config();
  load_config(tiles);
  const std::int64_t steps = split_steps(cols), row_bytes = steps * kSplitPair;
  const auto rows_at = [&](const std::byte* of, std::int64_t row) { return of + row / 16 * row_bytes; };
  const std::int64_t whole_tokens = tokens / 32 * 32, whole_outputs = outputs / 32 * 32;
  for (std::int64_t from = 0; from < whole_tokens; from += kTokensAtOnce) {
    const std::int64_t to = std::min(whole_tokens, from + kTokensAtOnce);
    for (std::int64_t step = 0; step < steps; step += kStepsAtOnce) {
      const std::int64_t at_once = std::min(kStepsAtOnce, steps - step), offset = step * kSplitPair;
      for (std::int64_t n = 0; n < whole_outputs; n += 32)
        for (std::int64_t t = from; t < to; t += 32)
          block(rows_at(x, t) + offset, rows_at(w, n) + offset, row_bytes, at_once, step > 0, y + t * stride + n,
                stride);
    }
  }
  // The last tokens and outputs, fewer than 32.
  alignas(64) float edge[32 * 32];
  for (std::int64_t t = 0; t < tokens; t += 32) {
    for (std::int64_t n = t < whole_tokens ? whole_outputs : 0; n < outputs; n += 32) {
      block(rows_at(x, t), rows_at(w, n), row_bytes, steps, false, edge, 32);
      written(edge);
      for (std::int64_t r = 0; r < std::min<std::int64_t>(32, tokens - t); ++r)
        std::copy_n(edge + 32 * r, std::min<std::int64_t>(32, outputs - n), y + (t + r) * stride + n);
    }
  }
  _tile_release();
}

}  // namespace sparing::kernels::amx
