#pragma once
// The inner loops of the second-order mathematics, one translation unit per instruction set, chosen at run time.
// Every set gives the same bits: elements are reduced in one order, and each step is one fused multiply-add.

#include <cstdint>

namespace sparing::math {

/// A rounding grid's cost on one group: codes round(v / scale + zero) clamped to [0, top].
struct GridTrial {
  float inverse_scale, scale, zero;  ///< value = scale * (code - zero)
  float top;
};

struct Simd {
  const char* name;
  int f32_rows, f32_cols, f64_rows, f64_cols;  ///< tile of the micro kernels
  /// tile[f32_rows][f32_cols] = sum over k, ascending, of a[k][f32_rows] * b[k * b_stride + ...][f32_cols], a packed.
  void (*micro_f32)(std::int64_t k, const float* a, const float* b, std::int64_t b_stride, float* tile);
  void (*micro_f64)(std::int64_t k, const double* a, const double* b, std::int64_t b_stride, double* tile);
  /// y += alpha * x
  void (*axpy)(std::int64_t n, float alpha, const float* x, float* y);
  /// Sum in 16 interleaved lanes, then a fixed tree.
  float (*dot)(std::int64_t n, const float* x, const float* y);
  /// sum weight_i * (v_i - rounded v_i)^2, in 16 interleaved lanes. weight may be null (ones).
  float (*trial_loss)(std::int64_t n, const float* v, const float* weight, const GridTrial& trial);
  /// The k of [0, n) with the least norms[k] + sum over j < width of y[j] * columns[j * n + k] (j ascending), the
  /// lowest of equals; that value goes to *least. n: a multiple of 16, at most kMostEntries.
  std::int64_t (*nearest)(std::int64_t n, std::int64_t width, const float* columns, const float* norms, const float* y,
                          float* least);
};
inline constexpr int kMostEntries = 256;

/// The best that this machine has.
const Simd& simd();
/// nullptr where this machine cannot run it. For tests: "generic", "avx2", "avx512".
const Simd* simd_named(const char* name);

extern const Simd simd_generic;
#if defined(__x86_64__)
extern const Simd simd_avx2, simd_avx512;
#endif

}  // namespace sparing::math
