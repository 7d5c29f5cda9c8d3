#include "kernels/neon.h"
#include "kernels/neon_common.h"

namespace sparing::kernels::neon {
namespace {

struct Scale {
  float scale = 0, inverse = 0;
};
/// From the bits of the largest |x|; inverse 0 where codes are.
inline Scale scale_of(std::uint32_t bits, float most_code) {
  float amax;
  __builtin_memcpy(&amax, &bits, 4);
  if (bits >= 0x7F800000u) return {__builtin_nanf(""), 0};
  if (amax < 0x1p-100f) return {};
  const float scale = amax / most_code;
  return {scale, 1.0f / scale};
}

inline int8x16_t bytes_of(const int16x4_t (&v)[4]) {
  return vcombine_s8(vmovn_s16(vcombine_s16(v[0], v[1])), vmovn_s16(vcombine_s16(v[2], v[3])));
}

void quantise_block(const float* x, std::int64_t token, Q8Block& out) {
  float32x4_t v[8];
  uint32x4_t most = vdupq_n_u32(0);
  SPARING_UNROLL
  for (int i = 0; i < 8; ++i) {
    v[i] = vld1q_f32(x + 4 * i);
    most = vmaxq_u32(most, vandq_u32(vreinterpretq_u32_f32(v[i]), vdupq_n_u32(0x7FFFFFFFu)));
  }
  const auto [scale, inverse] = scale_of(vmaxvq_u32(most), 127.0f);
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
    const int16x4_t parts[4] = {vmovn_s32(half[0]), vmovn_s32(half[1]), vmovn_s32(half[2]), vmovn_s32(half[3])};
    vst1q_s8(out.codes[token] + 16 * h, bytes_of(parts));
  }
  const float sums[3] = {static_cast<float>(halves[0] + halves[1]), static_cast<float>(halves[0]),
                         static_cast<float>(halves[1])};
  out.scale[token] = scale;
  for (int i = 0; i < 3; ++i) out.scaled_sum[i][token] = sums[i] * scale;
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

void quantise_wide(const float* x, std::int64_t tokens, std::int64_t x_stride, std::int64_t cols, std::int64_t tile,
                   Q16Block* out) {
  const std::int64_t first = tile * kTileTokens;
  const std::int64_t last = tokens < first + kTileTokens ? tokens : first + kTileTokens;
  for (std::int64_t t = first; t < last; ++t) {
    const float* row = x + t * x_stride;
    const std::int64_t lane = t - first;
    // 4 inputs from c on, with zeros beyond the row.
    const auto four = [&](std::int64_t c) {
      if (c + 4 <= cols) return vld1q_f32(row + c);
      float padded[4] = {};
      if (c < cols) __builtin_memcpy(padded, row + c, static_cast<std::size_t>(cols - c) * 4);
      return vld1q_f32(padded);
    };
    uint32x4_t most = vdupq_n_u32(0);
    for (std::int64_t c = 0; c < cols; c += 4)
      most = vmaxq_u32(most, vandq_u32(vreinterpretq_u32_f32(four(c)), vdupq_n_u32(0x7FFFFFFFu)));
    const Scale scale = scale_of(vmaxvq_u32(most), 32512.0f);
    const int32x4_t keep = vdupq_n_s32(scale.inverse != 0 ? -1 : 0);
    const std::int64_t stop = (cols + kWideInputs - 1) / kWideInputs * kWideInputs;
    for (std::int64_t c = 0; c < stop; c += 16) {
      Q16Block& block = out[c / kWideInputs];
      const std::int64_t at = c % kWideInputs;
      int32x4_t sum = vdupq_n_s32(0);
      int16x4_t high[4], low[4];
      SPARING_UNROLL
      for (int i = 0; i < 4; ++i) {
        const int32x4_t code = vandq_s32(keep, vcvtnq_s32_f32(vmulq_n_f32(four(c + 4 * i), scale.inverse)));
        const int32x4_t top = vshrq_n_s32(vaddq_s32(code, vdupq_n_s32(128)), 8);
        sum = vaddq_s32(sum, code);
        high[i] = vmovn_s32(top);
        low[i] = vmovn_s32(vsubq_s32(code, vshlq_n_s32(top, 8)));
      }
      block.sum[at / 16][lane] = vaddvq_s32(sum);
      vst1q_s8(block.high[lane] + at, bytes_of(high));
      vst1q_s8(block.low[lane] + at, bytes_of(low));
    }
    out[0].scale[lane] = scale.scale;
  }
}

}  // namespace sparing::kernels::neon
