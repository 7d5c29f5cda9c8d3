// lowrank and sign_lowrank (factor_panels.h) in registers of 16 floats.

#include "kernels/avx512.h"
#include "kernels/avx512_common.h"
#include "kernels/factor_panels.h"

namespace sparing::kernels::avx512 {
namespace {

struct Vector {
  using Lanes = Floats;
  static constexpr int kComponents = 4, kTokens = 4, kOuterTokens = 8;
  static __mmask16 first(int count) { return static_cast<__mmask16>((1u << count) - 1u); }

  static Lanes zero() { return _mm512_setzero_ps(); }
  static Lanes all(float v) { return _mm512_set1_ps(v); }
  static Lanes load(const float* p) { return _mm512_loadu_ps(p); }
  static Lanes load_some(const float* p, int count) { return _mm512_maskz_loadu_ps(first(count), p); }
  static void store(float* p, Lanes v) { _mm512_storeu_ps(p, v); }
  static void store_some(float* p, int count, Lanes v) { _mm512_mask_storeu_ps(p, first(count), v); }
  static Lanes fma(Lanes a, Lanes b, Lanes c) { return _mm512_fmadd_ps(a, b, c); }
  static Lanes add(Lanes a, Lanes b) { return _mm512_add_ps(a, b); }
  static Lanes mul(Lanes a, Lanes b) { return _mm512_mul_ps(a, b); }
  static float total(Lanes v) {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }
  static Lanes halves(const std::byte* p) { return load_halves(p); }
  static Lanes less(__m128i bytes, int middle) {
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_cvtepu8_epi32(bytes), _mm512_set1_epi32(middle)));
  }
  static Lanes bytes(const std::byte* p) { return less(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)), 128); }
  static Lanes nibbles(const std::byte* p) {
    const __m128i pairs = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)), mask = _mm_set1_epi8(15);
    return less(_mm_unpacklo_epi64(_mm_and_si128(pairs, mask), _mm_and_si128(_mm_srli_epi16(pairs, 4), mask)), 8);
  }
  static Lanes negate(Lanes v, const std::byte* p) {
    std::uint16_t bits;
    __builtin_memcpy(&bits, p, 2);
    return _mm512_mask_xor_ps(v, bits, v, _mm512_set1_ps(-0.0f));
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

}  // namespace sparing::kernels::avx512
