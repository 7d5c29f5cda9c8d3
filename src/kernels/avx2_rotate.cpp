#include "kernels/avx2.h"
#include "kernels/avx2_common.h"
#include "kernels/rotate_body.h"

namespace sparing::kernels::avx2 {
namespace {

struct Eight {
  using Register = __m256;
  static constexpr int kLanes = 8;
  static Register splat(float value) { return _mm256_set1_ps(value); }
  static Register plain(const float* x) { return _mm256_loadu_ps(x); }
  static void store(float* to, Register v) { _mm256_storeu_ps(to, v); }
  static Register load(const float* x, const std::byte* signs, std::int64_t at) {
    const __m256i lane = _mm256_set_epi32(24, 25, 26, 27, 28, 29, 30, 31);  // how far each lane's bit is from the top
    const __m256i bits = _mm256_sllv_epi32(_mm256_set1_epi32(static_cast<int>(signs[at / 8])), lane);
    const __m256i sign = _mm256_and_si256(bits, _mm256_set1_epi32(static_cast<int>(0x80000000u)));
    return _mm256_xor_ps(plain(x), _mm256_castsi256_ps(sign));
  }
  /// As in avx512_rotate.cpp.
  static Register within(Register v) {
    const Register one = {1, -1, 1, -1, 1, -1, 1, -1}, two = {1, 1, -1, -1, 1, 1, -1, -1},
                   four = {1, 1, 1, 1, -1, -1, -1, -1};
    v = _mm256_fmadd_ps(v, one, _mm256_permute_ps(v, 0xB1));
    v = _mm256_fmadd_ps(v, two, _mm256_permute_ps(v, 0x4E));
    return _mm256_fmadd_ps(v, four, _mm256_permute2f128_ps(v, v, 1));
  }
};

}  // namespace

void rotate(const std::byte* signs, std::int64_t cols, std::int64_t block, float norm, const float* x, float* out) {
  rotate_row<Eight, 8>(signs, cols, block, norm, x, out);
}

}  // namespace sparing::kernels::avx2
