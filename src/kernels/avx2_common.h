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

inline std::int32_t total_of(__m256i v) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1));
  return _mm_cvtsi128_si32(s);
}
inline std::int32_t largest_of(__m256i v) {
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4E));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xB1));
  return _mm_cvtsi128_si32(m);
}
/// 8 integers that fit bytes, as bytes in the low half.
inline __m128i bytes_of(__m256i v) {
  const __m128i pairs = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  return _mm_packs_epi16(pairs, pairs);
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
      const __m256 unit = _mm256_set1_ps(w.table_unit);
      _mm256_storeu_ps(scale, _mm256_mul_ps(_mm256_loadu_ps(scale), unit));
      _mm256_storeu_ps(scale + 8, _mm256_mul_ps(_mm256_loadu_ps(scale + 8), unit));
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

inline __m256i widen(__m256i pairs) {
  return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

/// 8 rows x quads [first, stop) times one token's bytes. maddubs adds two products of u8 x s8 in 16 bits: as many quads
/// are added there as cannot overflow, then widened.
/// QUADS: products of so many quads fit 16 bits (8 up to 4-bit codes: 15 * 128 * 2 * 8 < 2^15; then 4, 2, 1); 0: codes
/// of 8 bits, split into their low 7 bits and the top one.
template <int QUADS>
inline __m256i dot(const std::byte* codes, const std::int8_t* x, int first, int stop) {
  __m256i total = _mm256_setzero_si256(), pairs = total;
  int held = 0;
  for (int q = first; q < stop; ++q) {
    std::int32_t quad;
    __builtin_memcpy(&quad, x + 4 * q, 4);
    const __m256i w = load_bytes(codes + 64 * q), xq = _mm256_set1_epi32(quad);
    if constexpr (QUADS == 0) {
      const __m256i low = _mm256_maddubs_epi16(_mm256_and_si256(w, _mm256_set1_epi8(0x7F)), xq);
      const __m256i top = _mm256_maddubs_epi16(_mm256_and_si256(w, _mm256_set1_epi8(-128)), xq);
      total = _mm256_add_epi32(total, _mm256_add_epi32(widen(low), widen(top)));
    } else {
      pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(w, xq));
      if (++held == QUADS) {
        total = _mm256_add_epi32(total, widen(pairs));
        pairs = _mm256_setzero_si256();
        held = 0;
      }
    }
  }
  if (QUADS > 0) total = _mm256_add_epi32(total, widen(pairs));
  return total;
}

/// Calls f<QUADS>() for the weight's width.
template <class F>
inline void with_quads(const IntWeight& w, const F& f) {
  const int bits = w.table != nullptr ? 8 : w.spec.bits;
  if (bits <= 4) return f.template operator()<8>();
  if (bits == 5) return f.template operator()<4>();
  if (bits == 6) return f.template operator()<2>();
  if (bits == 7) return f.template operator()<1>();
  f.template operator()<0>();
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
