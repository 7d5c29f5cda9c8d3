// Sixteen floats as one value, for whatever instruction set the including translation unit is compiled for. Every
// function gives the same bits on every set: 16 lanes everywhere, fused multiply-adds written out, one order of
// reduction. Internal linkage throughout, because several units compile this header with different flags.
#pragma once
#include <cstdint>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#if defined(__clang__)
#define SPARING_UNROLL _Pragma("unroll")
#else
#define SPARING_UNROLL _Pragma("GCC unroll 16")
#endif

namespace sparing {
namespace {

constexpr int kLanes = 16;
constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer

inline std::int64_t padded(std::int64_t n) {
  return (n + kLanes - 1) / kLanes * kLanes;
}

#if defined(__AVX512F__)

struct Vec {
  __m512 v;
};
inline __mmask16 first(std::int64_t n) {
  return static_cast<__mmask16>((1u << n) - 1u);
}
inline Vec load(const float* p) {
  return {_mm512_loadu_ps(p)};
}
inline Vec load(const float* p, std::int64_t n) {
  return {_mm512_maskz_loadu_ps(first(n), p)};
}
inline void store(float* p, Vec a) {
  _mm512_storeu_ps(p, a.v);
}
inline void store(float* p, Vec a, std::int64_t n) {
  _mm512_mask_storeu_ps(p, first(n), a.v);
}
inline Vec load_half(const std::uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
inline void store_half(std::uint16_t* p, Vec a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_maskz_cvtps_ph(0xFFFF, a.v, _MM_FROUND_TO_NEAREST_INT));
}
inline Vec load_codes(__m128i codes) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(codes))};
}
inline Vec load_code8(const std::uint8_t* p) {
  return load_codes(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Vec load_code4(const std::uint8_t* p) {
  const __m128i both = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return load_codes(_mm_and_si128(_mm_unpacklo_epi64(both, _mm_srli_epi16(both, 4)), _mm_set1_epi8(15)));
}
/// n of each lane t = 1.5 * 2^23 + n, 0 <= n <= 255.
inline void store_code8(std::uint8_t* p, Vec t) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_maskz_cvtepi32_epi8(0xFFFF, _mm512_castps_si512(t.v)));
}
inline Vec splat(float x) {
  return {_mm512_set1_ps(x)};
}
inline Vec operator+(Vec a, Vec b) {
  return {_mm512_add_ps(a.v, b.v)};
}
inline Vec operator-(Vec a, Vec b) {
  return {_mm512_sub_ps(a.v, b.v)};
}
inline Vec operator*(Vec a, Vec b) {
  return {_mm512_mul_ps(a.v, b.v)};
}
inline Vec operator/(Vec a, Vec b) {
  return {_mm512_div_ps(a.v, b.v)};
}
/// a * b + c, rounded once.
inline Vec fma(Vec a, Vec b, Vec c) {
  return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
/// c - a * b, rounded once.
inline Vec fnma(Vec a, Vec b, Vec c) {
  return {_mm512_fnmadd_ps(a.v, b.v, c.v)};
}
/// a > b ? a : b, so the second operand where either is NaN.
inline Vec max(Vec a, Vec b) {
  return {_mm512_max_ps(a.v, b.v)};
}
inline Vec min(Vec a, Vec b) {
  return {_mm512_min_ps(a.v, b.v)};
}
/// a where lane is in [lo, hi), otherwise `outside`.
inline Vec keep_lanes(Vec a, std::int64_t lo, std::int64_t hi, float outside) {
  return {_mm512_mask_blend_ps(static_cast<__mmask16>(first(hi) & ~first(lo)), _mm512_set1_ps(outside), a.v)};
}
/// y, or 0 where x < limit.
inline Vec zero_below(Vec x, float limit, Vec y) {
  return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x.v, _mm512_set1_ps(limit), _CMP_NLT_UQ), y.v)};
}
/// 2^n for t = 1.5 * 2^23 + n, -126 <= n <= 127.
inline Vec pow2_of_shifted(Vec t) {
  return {
      _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(_mm512_castps_si512(t.v), _mm512_set1_epi32(127)), 23))};
}

/// 16 sums, or 16 pairs of int16.
using Ints = __m512i;
inline Ints no_ints() {
  return _mm512_setzero_si512();
}
inline Ints load_pairs(const std::int16_t* p) {
  return _mm512_loadu_si512(p);
}
/// The pair at p in every lane.
inline Ints splat_pair(const std::int16_t* p) {
  std::int32_t pair;
  __builtin_memcpy(&pair, p, sizeof pair);
  return _mm512_set1_epi32(pair);
}
/// sum + a0 b0 + a1 b1, modulo 2^32.
inline Ints dot_pairs(Ints sum, Ints a, Ints b) {
  // GCC 12 copies the sum before and after the intrinsic, and to memory beside.
  asm("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "vm"(b));
  return sum;
}
inline Vec to_floats(Ints a) {
  return {_mm512_maskz_cvtepi32_ps(0xFFFF, a)};
}
/// n of each lane t = 1.5 * 2^23 + n, |n| < 2^15.
inline void store_code16(std::int16_t* p, Vec t) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_maskz_cvtepi32_epi16(0xFFFF, _mm512_castps_si512(t.v)));
}
/// The larger of a >= 0 and |b|, NaN being largest.
inline Vec larger_size(Vec a, Vec b) {
  const __m512i size = _mm512_and_si512(_mm512_castps_si512(b.v), _mm512_set1_epi32(0x7FFFFFFF));
  return {_mm512_castsi512_ps(_mm512_maskz_max_epi32(0xFFFF, _mm512_castps_si512(a.v), size))};
}

#elif defined(__AVX2__)

struct Vec {
  __m256 v[2];
};
inline Vec load(const float* p) {
  return {{_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}};
}
inline void store(float* p, Vec a) {
  _mm256_storeu_ps(p, a.v[0]);
  _mm256_storeu_ps(p + 8, a.v[1]);
}
inline Vec load(const float* p, std::int64_t n) {
  alignas(32) float t[kLanes] = {};
  for (std::int64_t i = 0; i < n; ++i) t[i] = p[i];
  return load(t);
}
inline void store(float* p, Vec a, std::int64_t n) {
  alignas(32) float t[kLanes];
  store(t, a);
  for (std::int64_t i = 0; i < n; ++i) p[i] = t[i];
}
inline Vec load_half(const std::uint16_t* p) {
  return {{_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))),
           _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8)))}};
}
inline void store_half(std::uint16_t* p, Vec a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(a.v[0], _MM_FROUND_TO_NEAREST_INT));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(a.v[1], _MM_FROUND_TO_NEAREST_INT));
}
inline Vec load_codes(__m128i codes) {
  return {{_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(codes)),
           _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(codes, 8)))}};
}
inline Vec load_code8(const std::uint8_t* p) {
  return load_codes(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Vec load_code4(const std::uint8_t* p) {
  const __m128i both = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return load_codes(_mm_and_si128(_mm_unpacklo_epi64(both, _mm_srli_epi16(both, 4)), _mm_set1_epi8(15)));
}
inline void store_code8(std::uint8_t* p, Vec t) {
  alignas(32) float lane[kLanes];
  store(lane, t);
  for (int i = 0; i < kLanes; ++i) p[i] = static_cast<std::uint8_t>(__builtin_bit_cast(std::uint32_t, lane[i]));
}
inline Vec splat(float x) {
  return {{_mm256_set1_ps(x), _mm256_set1_ps(x)}};
}
inline Vec operator+(Vec a, Vec b) {
  return {{_mm256_add_ps(a.v[0], b.v[0]), _mm256_add_ps(a.v[1], b.v[1])}};
}
inline Vec operator-(Vec a, Vec b) {
  return {{_mm256_sub_ps(a.v[0], b.v[0]), _mm256_sub_ps(a.v[1], b.v[1])}};
}
inline Vec operator*(Vec a, Vec b) {
  return {{_mm256_mul_ps(a.v[0], b.v[0]), _mm256_mul_ps(a.v[1], b.v[1])}};
}
inline Vec operator/(Vec a, Vec b) {
  return {{_mm256_div_ps(a.v[0], b.v[0]), _mm256_div_ps(a.v[1], b.v[1])}};
}
inline Vec fma(Vec a, Vec b, Vec c) {
  return {{_mm256_fmadd_ps(a.v[0], b.v[0], c.v[0]), _mm256_fmadd_ps(a.v[1], b.v[1], c.v[1])}};
}
inline Vec fnma(Vec a, Vec b, Vec c) {
  return {{_mm256_fnmadd_ps(a.v[0], b.v[0], c.v[0]), _mm256_fnmadd_ps(a.v[1], b.v[1], c.v[1])}};
}
inline Vec max(Vec a, Vec b) {
  return {{_mm256_max_ps(a.v[0], b.v[0]), _mm256_max_ps(a.v[1], b.v[1])}};
}
inline Vec min(Vec a, Vec b) {
  return {{_mm256_min_ps(a.v[0], b.v[0]), _mm256_min_ps(a.v[1], b.v[1])}};
}
inline Vec keep_lanes(Vec a, std::int64_t lo, std::int64_t hi, float outside) {
  alignas(32) float t[kLanes];
  store(t, a);
  for (int i = 0; i < kLanes; ++i) t[i] = i >= lo && i < hi ? t[i] : outside;
  return load(t);
}
inline Vec zero_below(Vec x, float limit, Vec y) {
  const __m256 l = _mm256_set1_ps(limit);
  return {{_mm256_and_ps(_mm256_cmp_ps(x.v[0], l, _CMP_NLT_UQ), y.v[0]),
           _mm256_and_ps(_mm256_cmp_ps(x.v[1], l, _CMP_NLT_UQ), y.v[1])}};
}
inline Vec pow2_of_shifted(Vec t) {
  const __m256i bias = _mm256_set1_epi32(127);
  return {{_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_castps_si256(t.v[0]), bias), 23)),
           _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_castps_si256(t.v[1]), bias), 23))}};
}

struct Ints {
  __m256i v[2];
};
inline Ints no_ints() {
  return {{_mm256_setzero_si256(), _mm256_setzero_si256()}};
}
inline Ints load_pairs(const std::int16_t* p) {
  return {{_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
           _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 16))}};
}
inline Ints splat_pair(const std::int16_t* p) {
  std::int32_t pair;
  __builtin_memcpy(&pair, p, sizeof pair);
  return {{_mm256_set1_epi32(pair), _mm256_set1_epi32(pair)}};
}
inline Ints dot_pairs(Ints sum, Ints a, Ints b) {
  return {{_mm256_add_epi32(sum.v[0], _mm256_madd_epi16(a.v[0], b.v[0])),
           _mm256_add_epi32(sum.v[1], _mm256_madd_epi16(a.v[1], b.v[1]))}};
}
inline Vec to_floats(Ints a) {
  return {{_mm256_cvtepi32_ps(a.v[0]), _mm256_cvtepi32_ps(a.v[1])}};
}
inline void store_code16(std::int16_t* p, Vec t) {
  const __m256i low = _mm256_set1_epi32(0xFFFF);
  // Packs within halves of registers, hence the permutation.
  const __m256i packed = _mm256_packus_epi32(_mm256_and_si256(_mm256_castps_si256(t.v[0]), low),
                                             _mm256_and_si256(_mm256_castps_si256(t.v[1]), low));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm256_permute4x64_epi64(packed, 0xD8));
}
inline Vec larger_size(Vec a, Vec b) {
  const __m256i size = _mm256_set1_epi32(0x7FFFFFFF);
  const auto larger = [&](__m256 x, __m256 y) {
    return _mm256_castsi256_ps(
        _mm256_max_epi32(_mm256_castps_si256(x), _mm256_and_si256(_mm256_castps_si256(y), size)));
  };
  return {{larger(a.v[0], b.v[0]), larger(a.v[1], b.v[1])}};
}

#else

struct Vec {
  float v[kLanes];
};
template <class F>
inline Vec lanes(F&& f) {
  Vec r;
  for (int i = 0; i < kLanes; ++i) r.v[i] = f(i);
  return r;
}
inline std::uint32_t bits_of(float x) {
  return __builtin_bit_cast(std::uint32_t, x);
}
inline float half_to_float(std::uint16_t h) {
  const std::uint32_t sign = static_cast<std::uint32_t>(h & 0x8000u) << 16, rest = h & 0x7FFFu;
  if (rest >= 0x7C00u) return __builtin_bit_cast(float, sign | 0x7F800000u | ((rest & 0x3FFu) << 13));
  // Shifting the exponent field down by 2^112 and up again by a multiplication also normalises subnormals.
  const float scaled = __builtin_bit_cast(float, rest << 13) * 0x1.0p112f;
  return __builtin_bit_cast(float, sign | bits_of(scaled));
}
inline std::uint16_t float_to_half(float f) {
  const std::uint32_t sign = (bits_of(f) >> 16) & 0x8000u, rest = bits_of(f) & 0x7FFFFFFFu;
  if (rest > 0x7F800000u) return static_cast<std::uint16_t>(sign | 0x7E00u | ((rest >> 13) & 0x3FFu));
  if (rest >= 0x477FF000u) return static_cast<std::uint16_t>(sign | 0x7C00u);
  if (rest < 0x38800000u) {  // subnormal: the float adder rounds at 2^-24
    return static_cast<std::uint16_t>(sign | (bits_of(__builtin_bit_cast(float, rest) + 0.5f) - 0x3F000000u));
  }
  return static_cast<std::uint16_t>(sign | ((rest - 0x38000000u + 0xFFFu + ((rest >> 13) & 1u)) >> 13));
}
inline Vec load(const float* p) {
  return lanes([&](int i) { return p[i]; });
}
inline Vec load(const float* p, std::int64_t n) {
  return lanes([&](int i) { return i < n ? p[i] : 0.0f; });
}
inline void store(float* p, Vec a) {
  for (int i = 0; i < kLanes; ++i) p[i] = a.v[i];
}
inline void store(float* p, Vec a, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) p[i] = a.v[i];
}
inline Vec load_half(const std::uint16_t* p) {
  return lanes([&](int i) { return half_to_float(p[i]); });
}
inline void store_half(std::uint16_t* p, Vec a) {
  for (int i = 0; i < kLanes; ++i) p[i] = float_to_half(a.v[i]);
}
inline Vec load_code8(const std::uint8_t* p) {
  return lanes([&](int i) { return static_cast<float>(p[i]); });
}
inline Vec load_code4(const std::uint8_t* p) {
  return lanes([&](int i) { return static_cast<float>(i < 8 ? p[i] & 15 : p[i - 8] >> 4); });
}
inline void store_code8(std::uint8_t* p, Vec t) {
  for (int i = 0; i < kLanes; ++i) p[i] = static_cast<std::uint8_t>(bits_of(t.v[i]));
}
inline Vec splat(float x) {
  return lanes([&](int) { return x; });
}
inline Vec operator+(Vec a, Vec b) {
  return lanes([&](int i) { return a.v[i] + b.v[i]; });
}
inline Vec operator-(Vec a, Vec b) {
  return lanes([&](int i) { return a.v[i] - b.v[i]; });
}
inline Vec operator*(Vec a, Vec b) {
  return lanes([&](int i) { return a.v[i] * b.v[i]; });
}
inline Vec operator/(Vec a, Vec b) {
  return lanes([&](int i) { return a.v[i] / b.v[i]; });
}
inline Vec fma(Vec a, Vec b, Vec c) {
  return lanes([&](int i) { return __builtin_fmaf(a.v[i], b.v[i], c.v[i]); });
}
inline Vec fnma(Vec a, Vec b, Vec c) {
  return lanes([&](int i) { return __builtin_fmaf(-a.v[i], b.v[i], c.v[i]); });
}
inline Vec max(Vec a, Vec b) {
  return lanes([&](int i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
inline Vec min(Vec a, Vec b) {
  return lanes([&](int i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}
inline Vec keep_lanes(Vec a, std::int64_t lo, std::int64_t hi, float outside) {
  return lanes([&](int i) { return i >= lo && i < hi ? a.v[i] : outside; });
}
inline Vec zero_below(Vec x, float limit, Vec y) {
  return lanes([&](int i) { return x.v[i] < limit ? 0.0f : y.v[i]; });
}
inline Vec pow2_of_shifted(Vec t) {
  return lanes([&](int i) { return __builtin_bit_cast(float, (bits_of(t.v[i]) + 127u) << 23); });
}

struct Ints {
  std::uint32_t v[kLanes];
};
inline Ints no_ints() {
  return {};
}
inline Ints load_pairs(const std::int16_t* p) {
  Ints r;
  __builtin_memcpy(&r, p, sizeof r);
  return r;
}
inline Ints splat_pair(const std::int16_t* p) {
  Ints r;
  for (std::uint32_t& lane : r.v) __builtin_memcpy(&lane, p, sizeof lane);
  return r;
}
inline Ints dot_pairs(Ints sum, Ints a, Ints b) {
  for (int i = 0; i < kLanes; ++i) {
    const auto part = [&](std::uint32_t x) { return std::int32_t{static_cast<std::int16_t>(x)}; };
    sum.v[i] += static_cast<std::uint32_t>(part(a.v[i]) * part(b.v[i])) +
                static_cast<std::uint32_t>(part(a.v[i] >> 16) * part(b.v[i] >> 16));
  }
  return sum;
}
inline Vec to_floats(Ints a) {
  return lanes([&](int i) { return static_cast<float>(static_cast<std::int32_t>(a.v[i])); });
}
inline void store_code16(std::int16_t* p, Vec t) {
  for (int i = 0; i < kLanes; ++i) p[i] = static_cast<std::int16_t>(bits_of(t.v[i]));
}
inline Vec larger_size(Vec a, Vec b) {
  return lanes([&](int i) {
    const std::uint32_t x = bits_of(a.v[i]), y = bits_of(b.v[i]) & 0x7FFFFFFFu;
    return __builtin_bit_cast(float, x > y ? x : y);
  });
}

#endif

inline void store_code4(std::uint8_t* p, Vec t) {
  std::uint8_t codes[kLanes];
  store_code8(codes, t);
  for (int i = 0; i < kLanes / 2; ++i) p[i] = static_cast<std::uint8_t>(codes[i] | codes[i + 8] << 4);
}

/// Sum of the lanes as a tree: 8 + 8, 4 + 4, 2 + 2, 1 + 1.
inline float sum_of(Vec a) {
  alignas(64) float t[kLanes];
  store(t, a);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) t[i] += t[i + width];
  }
  return t[0];
}
inline float min_of(Vec a) {
  alignas(64) float t[kLanes];
  store(t, a);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) t[i] = t[i] < t[i + width] ? t[i] : t[i + width];
  }
  return t[0];
}
inline float max_of(Vec a) {
  alignas(64) float t[kLanes];
  store(t, a);
  for (int width = kLanes / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) t[i] = t[i] > t[i + width] ? t[i] : t[i + width];
  }
  return t[0];
}
/// The largest lane of sizes as larger_size() gives them, NaN being largest.
inline float largest_size(Vec a) {
  alignas(64) float t[kLanes];
  store(t, a);
  std::uint32_t top = 0;
  for (const float x : t) {
    const auto bits = __builtin_bit_cast(std::uint32_t, x);
    top = top > bits ? top : bits;
  }
  return __builtin_bit_cast(float, top);
}

inline float half_at(const std::uint16_t* p) {
#if defined(__F16C__)
  return _cvtsh_ss(*p);
#else
  return half_to_float(*p);
#endif
}
/// Rounded to f16 and back; the bits to `out`.
inline float rounded_half(float x, std::uint16_t* out) {
#if defined(__F16C__)
  *out = _cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT);
#else
  *out = float_to_half(x);
#endif
  return half_at(out);
}

/// e^x to about 1.5 ulp; 0 below -87.3 (also for -inf), finite above 88; NaN stays NaN.
/// x = n ln 2 + r with |r| <= ln 2 / 2; Taylor's series to degree 7 leaves 5e-9 of e^r.
inline Vec exp(Vec x) {
  constexpr float kLowest = -87.3f, kHighest = 88.0f;
  const Vec c = min(splat(kHighest), max(splat(kLowest), x));
  const Vec t = fma(c, splat(1.44269504088896341f), splat(kRound));
  const Vec n = t - splat(kRound);
  Vec r = fnma(n, splat(0.693145751953125f), c);   // ln 2 in two parts, the first short enough for n times it
  r = fnma(n, splat(1.42860682030941723e-6f), r);  // to be exact
  Vec y = splat(1.0f / 5040);
  y = fma(y, r, splat(1.0f / 720));
  y = fma(y, r, splat(1.0f / 120));
  y = fma(y, r, splat(1.0f / 24));
  y = fma(y, r, splat(1.0f / 6));
  y = fma(y, r, splat(0.5f));
  y = fma(y, r, splat(1.0f));
  y = fma(y, r, splat(1.0f));
  return zero_below(x, kLowest, y * pow2_of_shifted(t));
}

}  // namespace
}  // namespace sparing
