#pragma once
// For the neon_*.cpp files alone: everything here has internal linkage.

#include <arm_neon.h>

#include "kernels/kernel_set.h"
#include "kernels/unroll.h"

namespace sparing::kernels {
namespace {

inline const std::uint8_t* bytes_at(const std::byte* p) {
  return reinterpret_cast<const std::uint8_t*>(p);
}
/// 4 values of f16 as floats.
inline float32x4_t load_halves(const std::byte* p) {
  float16x4_t v;
  __builtin_memcpy(&v, p, 8);
  return vcvt_f32_f16(v);
}

inline bool has_minima(const IntWeight& w) {
  return w.spec.zero == ZeroKind::f16_min || w.spec.zero == ZeroKind::coded_min;
}
/// What unpacked codes are less by, so that they are signed bytes.
inline std::int32_t code_bias(const IntWeight& w) {
  return w.table != nullptr || w.spec.bits == 8 ? 128 : 0;
}

/// Of a panel's groups, [group][16]: scales, and minima as floats or zeros (less code_bias) as integers.
struct Groups {
  float *scale, *minimum;
  std::int32_t* zero;
  std::int64_t step;  ///< from one group's minimum or zero to the next; 0 where one constant serves all
};

inline Groups take_groups(const IntWeight& w, std::byte*& scratch) {
  Groups g{};
  g.scale = reinterpret_cast<float*>(scratch);
  scratch += w.layout.groups * 64;
  g.minimum = reinterpret_cast<float*>(scratch);
  g.zero = reinterpret_cast<std::int32_t*>(scratch);
  if (w.spec.zero == ZeroKind::constant) {
    for (int i = 0; i < 16; ++i) g.zero[i] = w.table != nullptr ? 0 : w.spec.zero_offset - code_bias(w);
    scratch += 64;
  } else {
    g.step = 16;
    scratch += w.layout.groups * 64;
  }
  return g;
}

/// 16 codes of a panel and group (int_group.h's small planes) as bytes.
inline uint8x16_t row_codes(const std::byte* at, int bits) {
  if (bits == 8) return vld1q_u8(bytes_at(at));
  uint8x16_t codes = vdupq_n_u8(0);
  int low = 0;
  const auto add = [&](uint8x16_t plane) {
    codes = vorrq_u8(codes, vshlq_u8(plane, vdupq_n_s8(static_cast<std::int8_t>(low))));
  };
  if ((bits & 4) != 0) {
    const uint8x8_t v = vld1_u8(bytes_at(at));
    add(vcombine_u8(vand_u8(v, vdup_n_u8(15)), vshr_n_u8(v, 4)));
    at += 8;
    low = 4;
  }
  if ((bits & 2) != 0) {
    std::uint32_t v;
    __builtin_memcpy(&v, at, 4);
    constexpr std::int8_t kShift[16] = {0, 0, 0, 0, -2, -2, -2, -2, -4, -4, -4, -4, -6, -6, -6, -6};
    add(vandq_u8(vshlq_u8(vreinterpretq_u8_u32(vdupq_n_u32(v)), vld1q_s8(kShift)), vdupq_n_u8(3)));
    at += 4;
    low += 2;
  }
  if ((bits & 1) != 0) {
    std::uint16_t v;
    __builtin_memcpy(&v, at, 2);
    constexpr std::int8_t kShift[16] = {0, 0, -1, -1, -2, -2, -3, -3, -4, -4, -5, -5, -6, -6, -7, -7};
    add(vandq_u8(vshlq_u8(vreinterpretq_u8_u16(vdupq_n_u16(v)), vld1q_s8(kShift)), vdupq_n_u8(1)));
  }
  return codes;
}

/// Bytes 4 * i to 4 * i + 3, as integers.
inline int32x4_t widen_codes(uint8x16_t codes, int i) {
  const uint16x8_t half = i < 2 ? vmovl_u8(vget_low_u8(codes)) : vmovl_u8(vget_high_u8(codes));
  return vreinterpretq_s32_u32(vmovl_u16(i % 2 == 0 ? vget_low_u16(half) : vget_high_u16(half)));
}

/// d[16 rows] * (code - offset), or its negative.
inline void scale_codes(const std::byte* codes, int bits, int offset, const std::byte* d, bool negate, float* to) {
  const uint8x16_t bytes = row_codes(codes, bits);
  SPARING_UNROLL
  for (int i = 0; i < 4; ++i) {
    const float32x4_t code = vcvtq_f32_s32(vsubq_s32(widen_codes(bytes, i), vdupq_n_s32(offset)));
    const float32x4_t value = vmulq_f32(load_halves(d + 8 * i), code);
    vst1q_f32(to + 4 * i, negate ? vnegq_f32(value) : value);
  }
}

inline void widen_halves(const std::byte* from, float* to) {
  SPARING_UNROLL
  for (int i = 0; i < 4; ++i) vst1q_f32(to + 4 * i, load_halves(from + 8 * i));
}

inline void decode_groups(const IntWeight& w, std::int64_t panel, const Groups& to) {
  const IntGroupLayout& l = w.layout;
  const GroupSpec& spec = w.spec.groups;
  const std::byte* scales = w.blob + l.scales + panel * l.groups * l.scale_group_bytes;
  const std::byte* zeros = w.blob + l.zeros + panel * l.groups * l.zero_group_bytes;
  const std::byte* scale_supers = w.blob + l.scale_supers + panel * l.supers * 32;
  const std::byte* zero_supers = w.blob + l.zero_supers + panel * l.supers * 32;
  const std::int64_t per_super = spec.super > 0 ? spec.super : l.groups;
  for (std::int64_t g = 0, s = 0; g < l.groups; ++s) {
    const std::int64_t stop = g + per_super < l.groups ? g + per_super : l.groups;
    for (; g < stop; ++g) {
      if (spec.scale == ScaleKind::f16) {
        widen_halves(scales + 32 * g, to.scale + 16 * g);
      } else {
        scale_codes(scales + g * l.scale_group_bytes, spec.scale_bits, spec.scale_offset, scale_supers + 32 * s, false,
                    to.scale + 16 * g);
      }
      for (int i = 0; i < 4; ++i) {
        float* const at = to.scale + 16 * g + 4 * i;
        vst1q_f32(at, vmulq_n_f32(vld1q_f32(at), w.table_unit));
      }
      if (w.spec.zero == ZeroKind::f16_min) {
        widen_halves(zeros + 32 * g, to.minimum + 16 * g);
      } else if (w.spec.zero == ZeroKind::coded_min) {
        scale_codes(zeros + g * l.zero_group_bytes, w.spec.zero_bits, 0, zero_supers + 32 * s, true,
                    to.minimum + 16 * g);
      } else if (w.spec.zero == ZeroKind::integer) {
        const uint8x16_t codes = row_codes(zeros + g * l.zero_group_bytes, w.spec.zero_bits);
        for (int i = 0; i < 4; ++i)
          vst1q_s32(to.zero + 16 * g + 4 * i, vsubq_s32(widen_codes(codes, i), vdupq_n_s32(code_bias(w))));
      }
    }
  }
}

/// Adds an earlier term and the bias, and writes up to `count` rows of one token from memory.
inline void store_rows(const Output& out, std::int64_t token, std::int64_t row, std::int64_t count, const float* v) {
  float* y = out.y + token * out.stride + row;
  for (std::int64_t i = 0; i < count; ++i) {
    const float value = out.add ? y[i] + v[i] : v[i];
    y[i] = out.bias != nullptr ? value + out.bias[row + i] : value;
  }
}

}  // namespace
}  // namespace sparing::kernels
