// f32 activations, weights f32, f16 or bf16: tiles of 4 sums (4 rows x 1 token, 2 x 2), each sum 16 lanes in two
// registers, then the fixed tree of q8.h for all four at once.

#include "kernels/avx2.h"
#include "kernels/avx2_common.h"
#include "kernels/csr_panels.h"

namespace sparing::kernels {
namespace avx2 {
namespace {

template <DType TYPE>
inline __m256 load_weights(const std::byte* p) {
  if constexpr (TYPE == DType::f32) return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
  if constexpr (TYPE == DType::f16) return load_halves(p);
  const __m128i half = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

/// Lane i of the result is the tree over the 16 lanes of sum i.
inline __m128 reduce4(const __m256 (&v)[8]) {
  __m128 q[4];
  SPARING_UNROLL
  for (int i = 0; i < 4; ++i) {
    const __m256 eight = _mm256_add_ps(v[2 * i], v[2 * i + 1]);
    q[i] = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  }
  const __m128 a = _mm_add_ps(_mm_unpacklo_ps(q[0], q[1]), _mm_unpackhi_ps(q[0], q[1]));
  const __m128 b = _mm_add_ps(_mm_unpacklo_ps(q[2], q[3]), _mm_unpackhi_ps(q[2], q[3]));
  return _mm_add_ps(_mm_movelh_ps(a, b), _mm_movehl_ps(b, a));
}

/// 4 / TOKENS rows x TOKENS tokens: out[t * rows + r].
template <DType TYPE, int TOKENS>
inline __m128 tile(const std::byte* const (&w)[4 / TOKENS], const float* x, std::int64_t x_stride, std::int64_t cols) {
  constexpr int kRows = 4 / TOKENS, kSize = TYPE == DType::f32 ? 4 : 2;
  __m256 acc[8];
  SPARING_UNROLL
  for (int i = 0; i < 8; ++i) acc[i] = _mm256_setzero_ps();
  const auto step = [&acc](const std::byte* const(&wc)[kRows], const float* xc, std::int64_t stride)
      __attribute__((always_inline)) {
    __m256 xs[2 * TOKENS];
    SPARING_UNROLL
    for (int t = 0; t < TOKENS; ++t) {
      xs[2 * t] = _mm256_loadu_ps(xc + t * stride);
      xs[2 * t + 1] = _mm256_loadu_ps(xc + t * stride + 8);
    }
    SPARING_UNROLL
    for (int r = 0; r < kRows; ++r) {
      const __m256 low = load_weights<TYPE>(wc[r]), high = load_weights<TYPE>(wc[r] + 8 * kSize);
      SPARING_UNROLL
      for (int t = 0; t < TOKENS; ++t) {
        __m256* to = acc + 2 * (t * kRows + r);
        to[0] = _mm256_fmadd_ps(low, xs[2 * t], to[0]);
        to[1] = _mm256_fmadd_ps(high, xs[2 * t + 1], to[1]);
      }
    }
  };
  const std::byte* at[kRows];
  std::int64_t c = 0;
  for (; c + 16 <= cols; c += 16) {
    SPARING_UNROLL
    for (int r = 0; r < kRows; ++r) at[r] = w[r] + c * kSize;
    step(at, x + c, x_stride);
  }
  if (c < cols) {
    float padded[TOKENS][16] = {};
    std::byte rows[kRows][16 * kSize] = {};
    for (int t = 0; t < TOKENS; ++t)
      __builtin_memcpy(padded[t], x + t * x_stride + c, static_cast<std::size_t>(cols - c) * 4);
    for (int r = 0; r < kRows; ++r) {
      __builtin_memcpy(rows[r], w[r] + c * kSize, static_cast<std::size_t>((cols - c) * kSize));
      at[r] = rows[r];
    }
    step(at, padded[0], 16);
  }
  return reduce4(acc);
}

template <DType TYPE, int TOKENS>
void run_tile(const std::byte* base, std::int64_t stride, std::int64_t rows, std::int64_t cols, const float* x,
              std::int64_t x_stride, std::int64_t token, std::int64_t row, const Output& out) {
  constexpr int kRows = 4 / TOKENS;
  for (std::int64_t r = 0; r < 16 && row + r < rows; r += kRows) {
    const std::byte* w[kRows];
    for (int i = 0; i < kRows; ++i) w[i] = base + (row + r + i < rows ? r + i : r) * stride;
    float held[4];
    _mm_storeu_ps(held, tile<TYPE, TOKENS>(w, x + token * x_stride, x_stride, cols));
    const std::int64_t left = rows - row - r;
    for (int t = 0; t < TOKENS; ++t) store_rows(out, token + t, row + r, left < kRows ? left : kRows, held + t * kRows);
  }
}

template <DType TYPE>
void all_tokens(const std::byte* base, std::int64_t stride, std::int64_t rows, std::int64_t cols, const float* x,
                std::int64_t x_stride, std::int64_t from, std::int64_t to, std::int64_t row, const Output& out) {
  std::int64_t t = from;
  for (; t + 2 <= to; t += 2) run_tile<TYPE, 2>(base, stride, rows, cols, x, x_stride, t, row, out);
  if (t < to) run_tile<TYPE, 1>(base, stride, rows, cols, x, x_stride, t, row, out);
}

template <DType TYPE>
void widen_row(const std::byte* from, std::int64_t cols, float* to) {
  std::int64_t c = 0;
  for (; c + 8 <= cols; c += 8) _mm256_storeu_ps(to + c, load_weights<TYPE>(from + 2 * c));
  if (c < cols) {
    std::byte padded[16] = {};
    float wide[8];
    __builtin_memcpy(padded, from + 2 * c, static_cast<std::size_t>(cols - c) * 2);
    _mm256_storeu_ps(wide, load_weights<TYPE>(padded));
    __builtin_memcpy(to + c, wide, static_cast<std::size_t>(cols - c) * 4);
  }
}

template <DType TYPE>
void panels(const DenseWeight& w, const float* x, std::int64_t tokens, std::int64_t x_stride, const Output& out,
            std::int64_t begin, std::int64_t end, std::byte* scratch) {
  const std::int64_t size = TYPE == DType::f32 ? 4 : 2;
  // Tokens whose activations stay in the second-level cache while the panels pass by.
  std::int64_t chunk = (1 << 18) / (w.cols * 4) / 4 * 4;
  if (chunk < 16) chunk = 16;
  for (std::int64_t from = 0; from < tokens; from += chunk) {
    const std::int64_t to = from + chunk < tokens ? from + chunk : tokens;
    for (std::int64_t p = begin; p < end; ++p) {
      const std::int64_t row = p * 16;
      const std::byte* base = w.data + row * w.cols * size;
      if (TYPE == DType::f32 || to - from < 4) {
        all_tokens<TYPE>(base, w.cols * size, w.rows, w.cols, x, x_stride, from, to, row, out);
        continue;
      }
      auto* wide = reinterpret_cast<float*>(scratch);
      const std::int64_t stride = (w.cols + 15) / 16 * 16;
      for (std::int64_t r = 0; r < 16 && row + r < w.rows; ++r)
        widen_row<TYPE>(base + r * w.cols * size, w.cols, wide + r * stride);
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

void csr_panels(const CsrWeight& w, const float* x, std::int64_t tokens, std::int64_t x_stride, const Output& out,
                std::int64_t begin, std::int64_t end) {
  csr_rows(w, x, tokens, x_stride, out, begin, end);
}

}  // namespace avx2

const KernelSet avx2_kernels = {.int_panels = avx2::int_panels,
                                .dense_panels = avx2::dense_panels,
                                .csr_panels = avx2::csr_panels,
                                .quantise = avx2::quantise,
                                .wide_panels = avx2::wide_panels,
                                .quantise_wide = avx2::quantise_wide,
                                .factor_inner = avx2::factor_inner,
                                .factor_outer = avx2::factor_outer,
                                .sign_panel = avx2::sign_panel,
                                .rotate = avx2::rotate};

}  // namespace sparing::kernels
