// f32 activations, weights f32, f16 or bf16: tiles of 4 sums (4 rows x 1 token, 2 x 2), each sum 16 lanes in four
// registers, then the fixed tree of q8.h.

#include "kernels/csr_panels.h"
#include "kernels/neon.h"
#include "kernels/neon_common.h"

namespace sparing::kernels {
namespace neon {
namespace {

template <DType TYPE>
inline float32x4_t load_weights(const std::byte* p) {
  if constexpr (TYPE == DType::f32) return vreinterpretq_f32_u8(vld1q_u8(bytes_at(p)));
  if constexpr (TYPE == DType::f16) return load_halves(p);
  uint16x4_t half;
  __builtin_memcpy(&half, p, 8);
  return vreinterpretq_f32_u32(vshll_n_u16(half, 16));
}

/// The tree over a sum's 16 lanes.
inline float reduce(const float32x4_t (&v)[4]) {
  const float32x4_t four = vaddq_f32(vaddq_f32(v[0], v[2]), vaddq_f32(v[1], v[3]));
  const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

/// 4 / TOKENS rows x TOKENS tokens: out[t * rows + r].
template <DType TYPE, int TOKENS>
inline void tile(const std::byte* const (&w)[4 / TOKENS], const float* x, std::int64_t x_stride, std::int64_t cols,
                 float (&out)[4]) {
  constexpr int kRows = 4 / TOKENS, kSize = TYPE == DType::f32 ? 4 : 2;
  float32x4_t acc[4][4];
  SPARING_UNROLL
  for (int i = 0; i < 16; ++i) acc[i / 4][i % 4] = vdupq_n_f32(0);
  const auto step = [&acc](const std::byte* const(&wc)[kRows], const float* xc, std::int64_t stride)
      __attribute__((always_inline)) {
    float32x4_t xs[TOKENS][4];
    SPARING_UNROLL
    for (int t = 0; t < TOKENS; ++t)
      for (int i = 0; i < 4; ++i) xs[t][i] = vld1q_f32(xc + t * stride + 4 * i);
    SPARING_UNROLL
    for (int r = 0; r < kRows; ++r)
      for (int i = 0; i < 4; ++i) {
        const float32x4_t v = load_weights<TYPE>(wc[r] + 4 * i * kSize);
        for (int t = 0; t < TOKENS; ++t) acc[t * kRows + r][i] = vfmaq_f32(acc[t * kRows + r][i], v, xs[t][i]);
      }
  };
  const std::byte* at[kRows];
  std::int64_t c = 0;
  for (; c + 16 <= cols; c += 16) {
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
  for (int i = 0; i < 4; ++i) out[i] = reduce(acc[i]);
}

template <DType TYPE, int TOKENS>
void run_tile(const std::byte* base, std::int64_t stride, std::int64_t rows, std::int64_t cols, const float* x,
              std::int64_t x_stride, std::int64_t token, std::int64_t row, const Output& out) {
  constexpr int kRows = 4 / TOKENS;
  for (std::int64_t r = 0; r < 16 && row + r < rows; r += kRows) {
    const std::byte* w[kRows];
    for (int i = 0; i < kRows; ++i) w[i] = base + (row + r + i < rows ? r + i : r) * stride;
    float held[4];
    tile<TYPE, TOKENS>(w, x + token * x_stride, x_stride, cols, held);
    const std::int64_t left = rows - row - r;
    for (int t = 0; t < TOKENS; ++t) store_rows(out, token + t, row + r, left < kRows ? left : kRows, held + t * kRows);
  }
}

template <DType TYPE>
void panels(const DenseWeight& w, const float* x, std::int64_t tokens, std::int64_t x_stride, const Output& out,
            std::int64_t begin, std::int64_t end) {
  const std::int64_t stride = w.cols * (TYPE == DType::f32 ? 4 : 2);
  // Tokens whose activations stay in the second-level cache while the panels pass by.
  std::int64_t chunk = (1 << 18) / (w.cols * 4) / 4 * 4;
  if (chunk < 16) chunk = 16;
  for (std::int64_t from = 0; from < tokens; from += chunk) {
    const std::int64_t to = from + chunk < tokens ? from + chunk : tokens;
    for (std::int64_t row = begin * 16; row < end * 16; row += 16) {
      const std::byte* base = w.data + row * stride;
      std::int64_t t = from;
      for (; t + 2 <= to; t += 2) run_tile<TYPE, 2>(base, stride, w.rows, w.cols, x, x_stride, t, row, out);
      if (t < to) run_tile<TYPE, 1>(base, stride, w.rows, w.cols, x, x_stride, t, row, out);
    }
  }
}

}  // namespace

void dense_panels(const DenseWeight& w, const float* x, std::int64_t tokens, std::int64_t x_stride, const Output& out,
                  std::int64_t begin, std::int64_t end, std::byte*) {
  if (w.dtype == DType::f32) return panels<DType::f32>(w, x, tokens, x_stride, out, begin, end);
  if (w.dtype == DType::f16) return panels<DType::f16>(w, x, tokens, x_stride, out, begin, end);
  panels<DType::bf16>(w, x, tokens, x_stride, out, begin, end);
}

void csr_panels(const CsrWeight& w, const float* x, std::int64_t tokens, std::int64_t x_stride, const Output& out,
                std::int64_t begin, std::int64_t end) {
  csr_rows(w, x, tokens, x_stride, out, begin, end);
}

}  // namespace neon

const KernelSet neon_kernels = {.int_panels = neon::int_panels,
                                .dense_panels = neon::dense_panels,
                                .csr_panels = neon::csr_panels,
                                .quantise = neon::quantise,
                                .wide_panels = neon::wide_panels,
                                .quantise_wide = neon::quantise_wide,
                                .factor_inner = neon::factor_inner,
                                .factor_outer = neon::factor_outer,
                                .sign_panel = neon::sign_panel};
const KernelSet neon_dotprod_kernels = {.int_panels = neon_dotprod::int_panels,
                                        .dense_panels = neon::dense_panels,
                                        .csr_panels = neon::csr_panels,
                                        .quantise = neon::quantise,
                                        .wide_panels = neon_dotprod::wide_panels,
                                        .quantise_wide = neon::quantise_wide,
                                        .factor_inner = neon::factor_inner,
                                        .factor_outer = neon::factor_outer,
                                        .sign_panel = neon::sign_panel};

}  // namespace sparing::kernels
