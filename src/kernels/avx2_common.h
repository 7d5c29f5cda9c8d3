#pragma once
// For the avx2_*.cpp files alone: everything here has internal linkage.

#include <immintrin.h>

#include "kernels/kernel_set.h"
#include "kernels/unroll.h"
#include "kernels/x86_row_codes.h"

namespace sparing::kernels {
namespace {

inline __m256i load_bytes(const std::byte* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
inline __m256 load_halves(const std::byte* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

inline bool has_minima(const IntWeight& w) {
  return w.spec.zero == ZeroKind::f16_min || w.spec.zero == ZeroKind::coded_min;
}

/// Scales of a panel's groups, and zeros or minima, as floats [group][16].
struct Groups {
  float *scale, *second;
  std::int64_t step;  ///< floats from one group's second to the next; 0 where one constant serves all
};

inline Groups take_groups(const IntWeight& w, std::byte*& scratch) {
  Groups g{};
  g.scale = reinterpret_cast<float*>(scratch);
  scratch += w.layout.groups * 64;
  g.second = reinterpret_cast<float*>(scratch);
  if (w.spec.zero == ZeroKind::constant) {
    for (int i = 0; i < 16; ++i) g.second[i] = w.table != nullptr ? 128.0f : static_cast<float>(w.spec.zero_offset);
    scratch += 64;
  } else {
    g.step = 16;
    scratch += w.layout.groups * 64;
  }
  return g;
}

/// d[16 rows] * (code - offset), or its negative.
inline void scale_codes(const std::byte* codes, int bits, int offset, const std::byte* d, bool negate, float* to) {
  const __m128i bytes = row_codes(codes, bits);
  const __m256 sign = negate ? _mm256_set1_ps(-0.0f) : _mm256_setzero_ps();
  SPARING_UNROLL
  for (int h = 0; h < 2; ++h) {
    const __m256i code = _mm256_cvtepu8_epi32(h == 0 ? bytes : _mm_srli_si128(bytes, 8));
    const __m256 value = _mm256_cvtepi32_ps(_mm256_sub_epi32(code, _mm256_set1_epi32(offset)));
    _mm256_storeu_ps(to + 8 * h, _mm256_xor_ps(_mm256_mul_ps(load_halves(d + 16 * h), value), sign));
  }
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
      float *scale = to.scale + 16 * g, *second = to.second + 16 * g;
      if (spec.scale == ScaleKind::f16) {
        _mm256_storeu_ps(scale, load_halves(scales + 32 * g));
        _mm256_storeu_ps(scale + 8, load_halves(scales + 32 * g + 16));
      } else {
        scale_codes(scales + g * l.scale_group_bytes, spec.scale_bits, spec.scale_offset, scale_supers + 32 * s, false,
                    scale);
      }
      if (w.spec.zero == ZeroKind::f16_min) {
        _mm256_storeu_ps(second, load_halves(zeros + 32 * g));
        _mm256_storeu_ps(second + 8, load_halves(zeros + 32 * g + 16));
      } else if (w.spec.zero == ZeroKind::integer) {
        const __m128i bytes = row_codes(zeros + g * l.zero_group_bytes, w.spec.zero_bits);
        _mm256_storeu_ps(second, _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)));
        _mm256_storeu_ps(second + 8, _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8))));
      } else if (w.spec.zero == ZeroKind::coded_min) {
        scale_codes(zeros + g * l.zero_group_bytes, w.spec.zero_bits, 0, zero_supers + 32 * s, true, second);
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
