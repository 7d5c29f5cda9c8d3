#pragma once
// Shared by the AVX2 and AVX-512 files; internal linkage, as in avx512_common.h.

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace sparing::kernels {
namespace {

/// 16 codes of a panel and group (int_group.h's small planes) as bytes.
inline __m128i row_codes(const std::byte* at, int bits) {
  __m128i codes = _mm_setzero_si128();
  int low = 0;
  if (bits == 8) return _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
  if ((bits & 4) != 0) {
    const __m128i v = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(at));
    codes = _mm_and_si128(_mm_unpacklo_epi64(v, _mm_srli_epi16(v, 4)), _mm_set1_epi8(15));
    at += 8;
    low = 4;
  }
  if ((bits & 2) != 0) {
    std::int32_t v;
    __builtin_memcpy(&v, at, 4);
    const __m128i all = _mm_srlv_epi32(_mm_set1_epi32(v), _mm_setr_epi32(0, 2, 4, 6));
    codes = _mm_or_si128(codes, _mm_slli_epi16(_mm_and_si128(all, _mm_set1_epi8(3)), low));
    at += 4;
    low += 2;
  }
  if ((bits & 1) != 0) {
    std::int16_t v;
    __builtin_memcpy(&v, at, 2);
    const __m128i bit = _mm_setr_epi8(1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32, 64, 64, -128, -128);
    const __m128i set = _mm_cmpeq_epi8(_mm_and_si128(_mm_set1_epi16(v), bit), bit);
    codes = _mm_or_si128(codes, _mm_and_si128(set, _mm_set1_epi8(static_cast<char>(1 << low))));
  }
  return codes;
}

}  // namespace
}  // namespace sparing::kernels
