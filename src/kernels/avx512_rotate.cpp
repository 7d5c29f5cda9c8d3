#include "kernels/avx512.h"
#include "kernels/avx512_common.h"
#include "kernels/rotate_body.h"

namespace sparing::kernels::avx512 {
namespace {

struct Sixteen {
  using Register = Floats;
  static constexpr int kLanes = 16;
  static Register splat(float value) { return _mm512_set1_ps(value); }
  static Register plain(const float* x) { return _mm512_loadu_ps(x); }
  static void store(float* to, Register v) { _mm512_storeu_ps(to, v); }
  static Register load(const float* x, const std::byte* signs, std::int64_t at) {
    const auto* bits = reinterpret_cast<const unsigned char*>(signs + at / 8);
    const auto negative = static_cast<__mmask16>(bits[0] | bits[1] << 8);
    const Ints v = _mm512_castps_si512(plain(x)), sign = _mm512_set1_epi32(static_cast<int>(0x80000000u));
    return _mm512_castsi512_ps(_mm512_mask_xor_epi32(v, negative, v, sign));
  }
  /// Each lane gets its partner added, and is itself subtracted where it is the upper one: a product by 1 or -1 is
  /// exact.
  static Register within(Register v) {
    const Register one = {1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1},
                   two = {1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1},
                   four = {1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1},
                   eight = {1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1};
    v = _mm512_fmadd_ps(v, one, _mm512_permute_ps(v, 0xB1));
    v = _mm512_fmadd_ps(v, two, _mm512_permute_ps(v, 0x4E));
    v = _mm512_fmadd_ps(v, four, _mm512_shuffle_f32x4(v, v, 0xB1));
    return _mm512_fmadd_ps(v, eight, _mm512_shuffle_f32x4(v, v, 0x4E));
  }
};

}  // namespace

void rotate(const std::byte* signs, std::int64_t cols, std::int64_t block, float norm, const float* x, float* out) {
  rotate_row<Sixteen, 16>(signs, cols, block, norm, x, out);
}

}  // namespace sparing::kernels::avx512
