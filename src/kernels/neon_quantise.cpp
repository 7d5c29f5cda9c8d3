#include "kernels/neon.h"
#include "kernels/neon_common.h"

namespace sparing::kernels::neon {
namespace {

void quantise_block(const float* x, std::int64_t token, Q8Block& out) {
  float32x4_t v[8];
  uint32x4_t most = vdupq_n_u32(0);
  SPARING_UNROLL
  for (int i = 0; i < 8; ++i) {
    v[i] = vld1q_f32(x + 4 * i);
    most = vmaxq_u32(most, vandq_u32(vreinterpretq_u32_f32(v[i]), vdupq_n_u32(0x7FFFFFFFu)));
  }
  const std::uint32_t bits = vmaxvq_u32(most);
  float amax, scale = 0, inverse = 0;
  __builtin_memcpy(&amax, &bits, 4);
  if (bits >= 0x7F800000u) {
    scale = __builtin_nanf("");
  } else if (amax >= 0x1p-100f) {
    scale = amax / 127.0f;
    inverse = 1.0f / scale;
  }
  // Blocks with an infinity or a NaN, and those that are too small: codes 0.
  const int32x4_t keep = vdupq_n_s32(inverse != 0 ? -1 : 0);
  int32x4_t q[8];
  SPARING_UNROLL
  for (int i = 0; i < 8; ++i) q[i] = vandq_s32(keep, vcvtnq_s32_f32(vmulq_n_f32(v[i], inverse)));
  std::int32_t halves[2];
  SPARING_UNROLL
  for (int h = 0; h < 2; ++h) {
    const int32x4_t* half = q + 4 * h;
    halves[h] = vaddvq_s32(vaddq_s32(vaddq_s32(half[0], half[1]), vaddq_s32(half[2], half[3])));
    const int16x8_t low = vcombine_s16(vmovn_s32(half[0]), vmovn_s32(half[1]));
    const int16x8_t high = vcombine_s16(vmovn_s32(half[2]), vmovn_s32(half[3]));
    vst1q_s8(out.codes[token] + 16 * h, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
  }
  const float sums[3] = {static_cast<float>(halves[0] + halves[1]), static_cast<float>(halves[0]),
                         static_cast<float>(halves[1])};
  out.scale[token] = scale;
  for (int i = 0; i < 3; ++i) {
    out.sum[i][token] = sums[i];
    out.scaled_sum[i][token] = sums[i] * scale;
  }
}

}  // namespace

void quantise(const float* x, std::int64_t tokens, std::int64_t x_stride, std::int64_t cols, std::int64_t tile,
              Q8Block* out) {
  const std::int64_t first = tile * kTileTokens;
  const std::int64_t last = tokens < first + kTileTokens ? tokens : first + kTileTokens;
  for (std::int64_t t = first; t < last; ++t) {
    const float* xt = x + t * x_stride;
    std::int64_t c = 0;
    for (; c + 32 <= cols; c += 32) quantise_block(xt + c, t - first, out[c / 32]);
    if (c < cols) {
      float padded[32] = {};
      __builtin_memcpy(padded, xt + c, static_cast<std::size_t>(cols - c) * 4);
      quantise_block(padded, t - first, out[c / 32]);
    }
  }
}

}  // namespace sparing::kernels::neon
