#include "kernels/avx512.h"
#include "kernels/avx512_common.h"

namespace sparing::kernels::avx512 {
namespace {

constexpr int kAtOnce = 4;  ///< blocks: one reduction and one division serve them all

/// Blocks from out[0] on of one token; `inputs` of them, zeros beyond.
inline void quantise_blocks(const float* x, std::int64_t inputs, std::int64_t token, Q8Block* out) {
  Floats v[kAtOnce][2];
  Ints most[kAtOnce];
  const Ints magnitude = _mm512_set1_epi32(0x7FFFFFFF);
  SPARING_UNROLL
  for (int i = 0; i < kAtOnce; ++i) {
    SPARING_UNROLL
    for (int h = 0; h < 2; ++h) {
      const std::int64_t at = 32 * i + 16 * h, left = inputs - at;
      v[i][h] = left >= 16 ? _mm512_loadu_ps(x + at)
                : left > 0 ? _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << left) - 1u), x + at)
                           : _mm512_setzero_ps();
    }
    most[i] = _mm512_max_epi32(_mm512_and_si512(_mm512_castps_si512(v[i][0]), magnitude),
                               _mm512_and_si512(_mm512_castps_si512(v[i][1]), magnitude));
  }
  const __m128i bits = reduce_four(most, Max{});
  const __m128 amax = _mm_castsi128_ps(bits);
  // Infinities and NaNs compare as integers; what is too small has scale and codes 0.
  const __m128 broken = _mm_castsi128_ps(_mm_cmpgt_epi32(bits, _mm_set1_epi32(0x7F7FFFFF)));
  const __m128 usable = _mm_andnot_ps(broken, _mm_cmpge_ps(amax, _mm_set1_ps(0x1p-100f)));
  const __m128 plain = _mm_div_ps(amax, _mm_set1_ps(127.0f));
  alignas(16) float scale[4], inverse[4];
  _mm_store_ps(scale, _mm_or_ps(_mm_and_ps(usable, plain), _mm_and_ps(broken, _mm_set1_ps(__builtin_nanf("")))));
  _mm_store_ps(inverse, _mm_and_ps(usable, _mm_div_ps(_mm_set1_ps(1.0f), plain)));
  Ints halves[2][kAtOnce];
  const std::int64_t blocks = inputs >= 32 * kAtOnce ? kAtOnce : (inputs + 31) / 32;
  SPARING_UNROLL
  for (int i = 0; i < kAtOnce; ++i) {
    // An infinity or a NaN times 0 is NaN, whose conversion is not 0: such blocks are masked out.
    const __mmask16 keep = inverse[i] != 0 ? 0xFFFF : 0;
    SPARING_UNROLL
    for (int h = 0; h < 2; ++h) {
      halves[h][i] = _mm512_maskz_cvtps_epi32(keep, _mm512_mul_ps(v[i][h], broadcast(inverse + i)));
      if (i < blocks)
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out[i].codes[token] + 16 * h), _mm512_cvtepi32_epi8(halves[h][i]));
    }
  }
  const __m128i first = reduce_four(halves[0], Add{}), second = reduce_four(halves[1], Add{});
  const __m128i sums[3] = {_mm_add_epi32(first, second), first, second};
  alignas(16) float scaled[3][4];
  SPARING_UNROLL
  for (int s = 0; s < 3; ++s) _mm_store_ps(scaled[s], _mm_mul_ps(_mm_cvtepi32_ps(sums[s]), _mm_load_ps(scale)));
  for (int i = 0; i < blocks; ++i) {
    out[i].scale[token] = scale[i];
    SPARING_UNROLL
    for (int s = 0; s < 3; ++s) out[i].scaled_sum[s][token] = scaled[s][i];
  }
}

}  // namespace

void quantise(const float* x, std::int64_t tokens, std::int64_t x_stride, std::int64_t cols, std::int64_t tile,
              Q8Block* out) {
  const std::int64_t first = tile * kTileTokens;
  const std::int64_t last = tokens < first + kTileTokens ? tokens : first + kTileTokens;
  for (std::int64_t t = first; t < last; ++t)
    for (std::int64_t c = 0; c < cols; c += 32 * kAtOnce)
      quantise_blocks(x + t * x_stride + c, cols - c, t - first, out + c / 32);
}

}  // namespace sparing::kernels::avx512
