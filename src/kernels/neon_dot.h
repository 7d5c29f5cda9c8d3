#pragma once
// Dot products of a quad (4 inputs of 4 rows, signed bytes) with 4 activations, with SDOT where the file is compiled
// for it. Internal linkage, as in neon_common.h.

#include "kernels/neon_common.h"

namespace sparing::kernels {
namespace {

/// 4 rows of one token.
struct Dot {
#if defined(__ARM_FEATURE_DOTPROD)
  int32x4_t total = vdupq_n_s32(0);
  void add(int8x16_t w, int8x16_t x) { total = vdotq_s32(total, w, x); }
  int32x4_t rows() const { return total; }
#else
  int32x4_t first = vdupq_n_s32(0), last = vdupq_n_s32(0);  // rows 0, 1 and 2, 3, two sums each
  void add(int8x16_t w, int8x16_t x) {
    first = vpadalq_s16(first, vmull_s8(vget_low_s8(w), vget_low_s8(x)));
    last = vpadalq_s16(last, vmull_high_s8(w, x));
  }
  int32x4_t rows() const { return vpaddq_s32(first, last); }
#endif
};

inline int8x16_t load_quad(const std::byte* p) {
  return vreinterpretq_s8_u8(vld1q_u8(bytes_at(p)));
}
/// 4 activations, for each of 4 rows.
inline int8x16_t broadcast_quad(const std::int8_t* x) {
  std::int32_t quad;
  __builtin_memcpy(&quad, x, 4);
  return vreinterpretq_s8_s32(vdupq_n_s32(quad));
}

}  // namespace
}  // namespace sparing::kernels
