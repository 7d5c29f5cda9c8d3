// f32 activations, weights f32, f16 or bf16: register tiles of 16 sums (16 rows x 1 token ... 4 x 4), each sum 16
// lanes over the inputs, then the fixed tree of q8.h for all 16 at once.

#include "kernels/avx512.h"
#include "kernels/avx512_common.h"

namespace sparing::kernels::avx512 {
namespace {

template <DType TYPE>
inline Floats load_weights(const std::byte* p, __mmask16 lanes) {
  if constexpr (TYPE == DType::f32) return _mm512_maskz_loadu_ps(lanes, p);
  const __m256i half = _mm256_maskz_loadu_epi16(lanes, p);
  if constexpr (TYPE == DType::f16) return _mm512_cvtph_ps(half);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

template <DType TYPE>
inline Floats load_weights(const std::byte* p) {
  if constexpr (TYPE == DType::f32) return _mm512_loadu_ps(p);
  const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  if constexpr (TYPE == DType::f16) return _mm512_cvtph_ps(half);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/// Lane i of the result is the tree over v[i]: pairs i, i + 8 first, then 4, 2, 1 apart.
inline Floats reduce16(const Floats (&v)[16]) {
  Floats a[8], b[4], c[2];
  SPARING_UNROLL
  for (int i = 0; i < 8; ++i)  // [v_i: 8 lanes | v_{i+8}: 8 lanes]
    a[i] = _mm512_add_ps(_mm512_shuffle_f32x4(v[i], v[i + 8], 0x44), _mm512_shuffle_f32x4(v[i], v[i + 8], 0xEE));
  SPARING_UNROLL
  for (int i = 0; i < 4; ++i)  // 128-bit lanes: v_i, v_{i+8}, v_{i+4}, v_{i+12}
    b[i] = _mm512_add_ps(_mm512_shuffle_f32x4(a[i], a[i + 4], 0x88), _mm512_shuffle_f32x4(a[i], a[i + 4], 0xDD));
  SPARING_UNROLL
  for (int i = 0; i < 2; ++i)  // within a lane: v_i, v_{i+2}, v_i, v_{i+2}
    c[i] = _mm512_add_ps(_mm512_unpacklo_ps(b[i], b[i + 2]), _mm512_unpackhi_ps(b[i], b[i + 2]));
  // Within a lane: v_0, v_1, v_2, v_3 of its quarter.
  const Floats low = _mm512_unpacklo_ps(c[0], c[1]), high = _mm512_unpackhi_ps(c[0], c[1]);
  const Floats sum = _mm512_add_ps(low, high);
  return _mm512_shuffle_f32x4(sum, sum, _MM_SHUFFLE(3, 1, 2, 0));
}

/// 16 / TOKENS rows x TOKENS tokens. out[t]: lanes of the rows, TOKENS groups in one register.
template <DType TYPE, int TOKENS>
inline Floats tile(const std::byte* const (&w)[16 / TOKENS], const float* x, std::int64_t x_stride, std::int64_t cols) {
  constexpr int kRows = 16 / TOKENS, kSize = TYPE == DType::f32 ? 4 : 2;
  Floats acc[16];
  SPARING_UNROLL
  for (int i = 0; i < 16; ++i) acc[i] = _mm512_setzero_ps();
  std::int64_t c = 0;
  for (; c + 16 <= cols; c += 16) {
    Floats xs[TOKENS];
    SPARING_UNROLL
    for (int t = 0; t < TOKENS; ++t) xs[t] = _mm512_loadu_ps(x + t * x_stride + c);
    SPARING_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const Floats ws = load_weights<TYPE>(w[r] + c * kSize);
      SPARING_UNROLL
      for (int t = 0; t < TOKENS; ++t) acc[t * kRows + r] = _mm512_fmadd_ps(ws, xs[t], acc[t * kRows + r]);
    }
  }
  if (c < cols) {
    const auto lanes = static_cast<__mmask16>((1u << (cols - c)) - 1u);
    SPARING_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const Floats ws = load_weights<TYPE>(w[r] + c * kSize, lanes);
      SPARING_UNROLL
      for (int t = 0; t < TOKENS; ++t)
        acc[t * kRows + r] =
            _mm512_fmadd_ps(ws, _mm512_maskz_loadu_ps(lanes, x + t * x_stride + c), acc[t * kRows + r]);
    }
  }
  return reduce16(acc);
}

/// Rows [row, row + 16) of a matrix whose row r is at base + r * stride, for tokens [t, t + TOKENS).
template <DType TYPE, int TOKENS>
void run_tile(const std::byte* base, std::int64_t stride, std::int64_t rows, std::int64_t cols, const float* x,
              std::int64_t x_stride, std::int64_t token, std::int64_t row, const Output& out) {
  constexpr int kRows = 16 / TOKENS;
  for (std::int64_t r = 0; r < 16 && row + r < rows; r += kRows) {
    const std::byte* w[kRows];
    for (int i = 0; i < kRows; ++i) w[i] = base + (row + r + i < rows ? r + i : r) * stride;
    const Floats sums = tile<TYPE, TOKENS>(w, x + token * x_stride, x_stride, cols);
    if constexpr (TOKENS == 1) {
      store_rows(out, token, row, rows_left(rows, row), sums);
    } else {
      alignas(64) float held[16];
      _mm512_store_ps(held, sums);
      const std::int64_t left = rows - row - r;
      const auto some = static_cast<__mmask16>((1u << (left < kRows ? left : kRows)) - 1u);
      for (int t = 0; t < TOKENS; ++t)
        store_rows(out, token + t, row + r, some, _mm512_maskz_loadu_ps(some, held + t * kRows));
    }
  }
}

template <DType TYPE>
void all_tokens(const std::byte* base, std::int64_t stride, std::int64_t rows, std::int64_t cols, const float* x,
                std::int64_t x_stride, std::int64_t from, std::int64_t to, std::int64_t row, const Output& out) {
  std::int64_t t = from;
  for (; t + 4 <= to; t += 4) run_tile<TYPE, 4>(base, stride, rows, cols, x, x_stride, t, row, out);
  if (t + 2 <= to) {
    run_tile<TYPE, 2>(base, stride, rows, cols, x, x_stride, t, row, out);
    t += 2;
  }
  if (t < to) run_tile<TYPE, 1>(base, stride, rows, cols, x, x_stride, t, row, out);
}

template <DType TYPE>
void widen(const std::byte* from, std::int64_t cols, float* to) {
  std::int64_t c = 0;
  for (; c + 16 <= cols; c += 16) _mm512_storeu_ps(to + c, load_weights<TYPE>(from + 2 * c));
  if (c < cols) {
    const auto lanes = static_cast<__mmask16>((1u << (cols - c)) - 1u);
    _mm512_mask_storeu_ps(to + c, lanes, load_weights<TYPE>(from + 2 * c, lanes));
  }
}

template <DType TYPE>
void panels(const DenseWeight& w, const float* x, std::int64_t tokens, std::int64_t x_stride, const Output& out,
            std::int64_t begin, std::int64_t end, std::byte* scratch) {
  const std::int64_t size = TYPE == DType::f32 ? 4 : 2;
  // Tokens whose activations stay in the second-level cache while the panels pass by.
  std::int64_t chunk = (1 << 20) / (w.cols * 4) / 4 * 4;
  if (chunk < 16) chunk = 16;
  for (std::int64_t from = 0; from < tokens; from += chunk) {
    const std::int64_t to = from + chunk < tokens ? from + chunk : tokens;
    for (std::int64_t p = begin; p < end; ++p) {
      const std::int64_t row = p * 16;
      const std::byte* base = w.data + row * w.cols * size;
      if (TYPE == DType::f32 || to - from < 8) {
        all_tokens<TYPE>(base, w.cols * size, w.rows, w.cols, x, x_stride, from, to, row, out);
        continue;
      }
      auto* wide = reinterpret_cast<float*>(scratch);
      const std::int64_t stride = (w.cols + 15) / 16 * 16;
      for (std::int64_t r = 0; r < 16 && row + r < w.rows; ++r)
        widen<TYPE>(base + r * w.cols * size, w.cols, wide + r * stride);
      all_tokens<DType::f32>(scratch, stride * 4, w.rows, w.cols, x, x_stride, from, to, row, out);
    }
  }
}

}  // namespace

void dense_panels(const DenseWeight& w, const float* x, std::int64_t tokens, std::int64_t x_stride, const Output& out,
                  std::int64_t begin, std::int64_t end, std::byte* scratch) {
  if (w.dtype == DType::f32) return panels<DType::f32>(w, x, tokens, x_stride, out, begin, end, scratch);
  if (w.dtype == DType::f16) return panels<DType::f16>(w, x, tokens, x_stride, out, begin, end, scratch);
  return panels<DType::bf16>(w, x, tokens, x_stride, out, begin, end, scratch);
}

}  // namespace sparing::kernels::avx512
