#if defined(__x86_64__)
#include <immintrin.h>

#include <cmath>

#include "lab/math/simd.h"

namespace sparing::math {
namespace {

struct F32 {
  using Scalar = float;
  using Vector = __m512;
  static constexpr int lanes = 16;
  static Vector load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Vector v) { _mm512_storeu_ps(p, v); }
  static Vector broadcast(float f) { return _mm512_set1_ps(f); }
  static Vector zero() { return _mm512_setzero_ps(); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
  static Vector mul(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
  static Vector sub(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
  static Vector round(Vector v) { return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static Vector min(Vector a, Vector b) { return _mm512_min_ps(a, b); }
  static Vector max(Vector a, Vector b) { return _mm512_max_ps(a, b); }
};
struct F64 {
  using Scalar = double;
  using Vector = __m512d;
  static constexpr int lanes = 8;
  static Vector load(const double* p) { return _mm512_loadu_pd(p); }
  static void store(double* p, Vector v) { _mm512_storeu_pd(p, v); }
  static Vector broadcast(double f) { return _mm512_set1_pd(f); }
  static Vector zero() { return _mm512_setzero_pd(); }
  static Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_pd(a, b, c); }
};
#include "lab/math/simd_body.h"

}  // namespace

const Simd simd_avx512{
    "avx512",       12,         32, 12, 16, micro_tile<F32, 12, 2>, micro_tile<F64, 12, 2>, axpy_all, dot_all,
    trial_loss_all, nearest_all};

}  // namespace sparing::math
#endif
