// lowrank and sign_lowrank (factor_panels.h) in pairs of registers of 8 floats.

#include "kernels/avx2.h"
#include "kernels/avx2_common.h"
#include "kernels/factor_panels.h"

namespace sparing::kernels::avx2 {
namespace {

struct Pair {
  __m256 low, high;
};

struct Vector {
  using Lanes = Pair;
  static constexpr int kComponents = 2, kTokens = 2, kOuterTokens = 4;

  static Lanes zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static Lanes all(float v) { return {_mm256_set1_ps(v), _mm256_set1_ps(v)}; }
  static Lanes load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static Lanes load_some(const float* p, int count) {
    float held[16] = {};
    __builtin_memcpy(held, p, static_cast<std::size_t>(count) * 4);
    return load(held);
  }
  static void store(float* p, Lanes v) {
    _mm256_storeu_ps(p, v.low);
    _mm256_storeu_ps(p + 8, v.high);
  }
  static void store_some(float* p, int count, Lanes v) {
    float held[16];
    store(held, v);
    __builtin_memcpy(p, held, static_cast<std::size_t>(count) * 4);
  }
  static Lanes fma(Lanes a, Lanes b, Lanes c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
  }
  static Lanes add(Lanes a, Lanes b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
  static Lanes mul(Lanes a, Lanes b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
  static float total(Lanes v) {
    const __m256 eight = _mm256_add_ps(v.low, v.high);
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
  static Lanes halves(const std::byte* p) { return {load_halves(p), load_halves(p + 16)}; }
  static Lanes less(__m128i bytes, int middle) {
    const __m256i by = _mm256_set1_epi32(middle);
    return {_mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_cvtepu8_epi32(bytes), by)),
            _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8)), by))};
  }
  static Lanes bytes(const std::byte* p) { return less(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), 128); }
  static Lanes nibbles(const std::byte* p) {
    const __m128i pairs = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)), mask = _mm_set1_epi8(15);
    return less(_mm_unpacklo_epi64(_mm_and_si128(pairs, mask), _mm_and_si128(_mm_srli_epi16(pairs, 4), mask)), 8);
  }
  static Lanes negate(Lanes v, const std::byte* p) {
    std::uint16_t bits;
    __builtin_memcpy(&bits, p, 2);
    const __m256i all_bits = _mm256_set1_epi32(bits), top = _mm256_set1_epi32(static_cast<int>(0x80000000u));
    const __m256i low = _mm256_sllv_epi32(all_bits, _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24)),
                  high = _mm256_sllv_epi32(all_bits, _mm256_setr_epi32(23, 22, 21, 20, 19, 18, 17, 16));
    return {_mm256_xor_ps(v.low, _mm256_castsi256_ps(_mm256_and_si256(low, top))),
            _mm256_xor_ps(v.high, _mm256_castsi256_ps(_mm256_and_si256(high, top)))};
  }
  static float half(const std::byte* p) {
    std::uint16_t bits;
    __builtin_memcpy(&bits, p, 2);
    return _cvtsh_ss(bits);
  }
};

}  // namespace

void factor_inner(const FactorWeight& w, const float* x, std::int64_t tokens, std::int64_t x_stride, float* z,
                  std::int64_t z_stride, std::int64_t begin, std::int64_t end) {
  factor_inner_with<Vector>(w, x, tokens, x_stride, z, z_stride, begin, end);
}
void factor_outer(const FactorWeight& w, const float* z, std::int64_t tokens, std::int64_t z_stride, const Output& out,
                  std::int64_t begin, std::int64_t end) {
  factor_outer_with<Vector>(w, z, tokens, z_stride, out, begin, end);
}
void sign_panel(const SignWeight& w, std::int64_t panel, float* out, std::byte* scratch) {
  sign_panel_with<Vector>(w, panel, out, scratch);
}

}  // namespace sparing::kernels::avx2
