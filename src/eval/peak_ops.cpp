#include "eval/peak_ops.h"

#include <algorithm>
#include <cstring>

#include "kernels/linear.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace sparing {
namespace {

/// To the compiler, the value is another one from here on.
template <class T>
inline void hide(T& value) {
  asm volatile("" : "+m"(value));
}

/// Keeps a value alive: the compiler may not drop what leads to it.
template <class T>
inline void keep(const T& value) {
  asm volatile("" : : "m"(value) : "memory");
}

// Ten chains cover four to five cycles of latency on two ports. The compiler must
// not know what they start with, or it finds them all alike and computes one.
constexpr int kChains = 10;

template <class Vector>
[[gnu::always_inline]] inline void portable_f32(std::int64_t rounds) {
  Vector sums[kChains] = {};
  hide(sums);
  Vector a = Vector{} + 0.999f, b = Vector{} + 0.001f;
  for (std::int64_t i = 0; i < rounds; ++i) {
    for (int c = 0; c < kChains; ++c) sums[c] = sums[c] * a + b;
    keep(a);
  }
  keep(sums);
}
using Float4 = float __attribute__((vector_size(16)));
void f32_portable(std::int64_t rounds) {
  portable_f32<Float4>(rounds);
}
using Short8 = std::int16_t __attribute__((vector_size(16)));
void int_portable(std::int64_t rounds) {
  Short8 sums[kChains] = {};
  hide(sums);
  Short8 a = Short8{} + 3, b = Short8{} + 5;
  for (std::int64_t i = 0; i < rounds; ++i) {
    for (int c = 0; c < kChains; ++c) sums[c] += (sums[c] ^ a) * b;
    keep(a);
  }
  keep(sums);
}

#if defined(__x86_64__)
[[gnu::target("avx2,fma")]] void f32_avx2(std::int64_t rounds) {
  __m256 sums[kChains] = {};
  hide(sums);
  const __m256 a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.001f);
  for (std::int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 10
    for (int c = 0; c < kChains; ++c) sums[c] = _mm256_fmadd_ps(sums[c], a, b);
  }
  keep(sums);
}
[[gnu::target("avx512f")]] void f32_avx512(std::int64_t rounds) {
  __m512 sums[kChains] = {};
  hide(sums);
  const __m512 a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(0.001f);
  for (std::int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 10
    for (int c = 0; c < kChains; ++c) sums[c] = _mm512_fmadd_ps(sums[c], a, b);
  }
  keep(sums);
}
[[gnu::target("avx2")]] void int8_avx2(std::int64_t rounds) {
  __m256i sums[kChains] = {};
  hide(sums);
  __m256i a = _mm256_set1_epi8(3);
  const __m256i b = _mm256_set1_epi8(5), ones = _mm256_set1_epi16(1);
  for (std::int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 10
    for (int c = 0; c < kChains; ++c) {
      // The operand changes with the chain, so that no product is shared.
      const __m256i pairs = _mm256_maddubs_epi16(_mm256_xor_si256(a, sums[c]), b);
      sums[c] = _mm256_add_epi32(sums[c], _mm256_madd_epi16(pairs, ones));
    }
  }
  keep(sums);
}
[[gnu::target("avx512f,avx512vnni")]] void int8_vnni(std::int64_t rounds) {
  __m512i sums[kChains] = {};
  hide(sums);
  const __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(5);
  for (std::int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 10
    for (int c = 0; c < kChains; ++c) sums[c] = _mm512_dpbusd_epi32(sums[c], a, b);
  }
  keep(sums);
}
[[gnu::target("amx-tile,amx-int8")]] void int8_amx(std::int64_t rounds) {
  struct alignas(64) {
    std::uint8_t palette = 1, start = 0, reserved[14] = {};
    std::uint16_t row_bytes[16] = {};
    std::uint8_t rows[16] = {};
  } config;
  for (int t = 0; t < 8; ++t) {
    config.row_bytes[t] = 64;
    config.rows[t] = 16;
  }
  // GCC 12's intrinsic claims to read one word only, and the rest of the struct would be dropped.
  keep(config);
  _tile_loadconfig(&config);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
  _tile_zero(6);
  _tile_zero(7);
  for (std::int64_t i = 0; i < rounds; ++i) {
    _tile_dpbusd(0, 4, 6);
    _tile_dpbusd(1, 4, 7);
    _tile_dpbusd(2, 5, 6);
    _tile_dpbusd(3, 5, 7);
  }
  _tile_release();
}
#elif defined(__aarch64__)
__attribute__((target("+dotprod"))) void int8_dot(std::int64_t rounds) {
  int32x4_t sums[kChains] = {};
  hide(sums);
  const int8x16_t a = vdupq_n_s8(3), b = vdupq_n_s8(5);
  for (std::int64_t i = 0; i < rounds; ++i) {
    for (int c = 0; c < kChains; ++c) sums[c] = vdotq_s32(sums[c], a, b);
  }
  keep(sums);
}
void f32_neon(std::int64_t rounds) {
  float32x4_t sums[kChains] = {};
  hide(sums);
  const float32x4_t a = vdupq_n_f32(0.999f), b = vdupq_n_f32(0.001f);
  for (std::int64_t i = 0; i < rounds; ++i) {
    for (int c = 0; c < kChains; ++c) sums[c] = vfmaq_f32(b, sums[c], a);
  }
  keep(sums);
}
#endif

}  // namespace

PeakKernel best_int8_kernel() {
#if defined(__x86_64__)
  const auto& isas = kernels::available_isas();
  if (std::find(isas.begin(), isas.end(), kernels::Isa::amx) != isas.end()) {
    return {"amx", 4 * 2.0 * 16 * 16 * 64, int8_amx};
  }
  if (__builtin_cpu_supports("avx512vnni")) return {"avx512_vnni", kChains * 2.0 * 64, int8_vnni};
  if (__builtin_cpu_supports("avx2")) return {"avx2", kChains * 2.0 * 32, int8_avx2};
#elif defined(__aarch64__)
  const auto& isas = kernels::available_isas();
  if (std::find(isas.begin(), isas.end(), kernels::Isa::neon_dotprod) != isas.end()) {
    return {"neon_dotprod", kChains * 2.0 * 16, int8_dot};
  }
#endif
  return {"portable", kChains * 2.0 * 8, int_portable};
}

PeakKernel best_f32_kernel() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return {"avx512", kChains * 2.0 * 16, f32_avx512};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {"avx2", kChains * 2.0 * 8, f32_avx2};
#elif defined(__aarch64__)
  return {"neon", kChains * 2.0 * 4, f32_neon};
#endif
  return {"portable", kChains * 2.0 * 4, f32_portable};
}

}  // namespace sparing
