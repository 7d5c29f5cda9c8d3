// lowrank and sign_lowrank (factor_panels.h) in four registers of 4 floats.

#include "kernels/factor_panels.h"
#include "kernels/neon.h"
#include "kernels/neon_common.h"

namespace sparing::kernels::neon {
namespace {

struct Four {
  float32x4_t v[4];
};

struct Vector {
  using Lanes = Four;
  static constexpr int kComponents = 2, kTokens = 2, kOuterTokens = 4;

  static Lanes all(float v) {
    const float32x4_t q = vdupq_n_f32(v);
    return {{q, q, q, q}};
  }
  static Lanes zero() { return all(0); }
  static Lanes load(const float* p) { return {{vld1q_f32(p), vld1q_f32(p + 4), vld1q_f32(p + 8), vld1q_f32(p + 12)}}; }
  static Lanes load_some(const float* p, int count) {
    float held[16] = {};
    __builtin_memcpy(held, p, static_cast<std::size_t>(count) * 4);
    return load(held);
  }
  static void store(float* p, const Lanes& v) {
    for (int i = 0; i < 4; ++i) vst1q_f32(p + 4 * i, v.v[i]);
  }
  static void store_some(float* p, int count, const Lanes& v) {
    float held[16];
    store(held, v);
    __builtin_memcpy(p, held, static_cast<std::size_t>(count) * 4);
  }
  static Lanes fma(const Lanes& a, const Lanes& b, Lanes c) {
    for (int i = 0; i < 4; ++i) c.v[i] = vfmaq_f32(c.v[i], a.v[i], b.v[i]);
    return c;
  }
  static Lanes add(Lanes a, const Lanes& b) {
    for (int i = 0; i < 4; ++i) a.v[i] = vaddq_f32(a.v[i], b.v[i]);
    return a;
  }
  static Lanes mul(Lanes a, const Lanes& b) {
    for (int i = 0; i < 4; ++i) a.v[i] = vmulq_f32(a.v[i], b.v[i]);
    return a;
  }
  static float total(const Lanes& v) {
    const float32x4_t four = vaddq_f32(vaddq_f32(v.v[0], v.v[2]), vaddq_f32(v.v[1], v.v[3]));
    const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
  }
  static Lanes halves(const std::byte* p) {
    return {{load_halves(p), load_halves(p + 8), load_halves(p + 16), load_halves(p + 24)}};
  }
  static Lanes less(uint8x16_t bytes, std::int16_t middle) {
    const int16x8_t by = vdupq_n_s16(middle), low = vsubq_s16(vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(bytes))), by),
                    high = vsubq_s16(vreinterpretq_s16_u16(vmovl_u8(vget_high_u8(bytes))), by);
    return {{vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(low))),
             vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), vcvtq_f32_s32(vmovl_s16(vget_high_s16(high)))}};
  }
  static Lanes bytes(const std::byte* p) { return less(vld1q_u8(bytes_at(p)), 128); }
  static Lanes nibbles(const std::byte* p) {
    const uint8x8_t pairs = vld1_u8(bytes_at(p));
    return less(vcombine_u8(vand_u8(pairs, vdup_n_u8(15)), vshr_n_u8(pairs, 4)), 8);
  }
  static Lanes negate(Lanes v, const std::byte* p) {
    std::uint16_t bits;
    __builtin_memcpy(&bits, p, 2);
    const std::int32_t first[4] = {31, 30, 29, 28};
    const int32x4_t places = vld1q_s32(first);
    for (int i = 0; i < 4; ++i) {
      const uint32x4_t moved = vshlq_u32(vdupq_n_u32(bits), vsubq_s32(places, vdupq_n_s32(4 * i)));
      v.v[i] =
          vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(v.v[i]), vandq_u32(moved, vdupq_n_u32(0x80000000u))));
    }
    return v;
  }
  static float half(const std::byte* p) {
    __fp16 value;
    __builtin_memcpy(&value, p, 2);
    return value;
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

}  // namespace sparing::kernels::neon
