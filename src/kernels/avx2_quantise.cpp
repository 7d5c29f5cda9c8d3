#include "kernels/avx2.h"
#include "kernels/avx2_common.h"

namespace sparing::kernels::avx2 {
namespace {

void quantise_block(const float* x, std::int64_t token, Q8Block& out) {
  __m256 v[4];
  __m256i most = _mm256_setzero_si256();
  SPARING_UNROLL
  for (int i = 0; i < 4; ++i) {
    v[i] = _mm256_loadu_ps(x + 8 * i);
    most = _mm256_max_epi32(most, _mm256_and_si256(_mm256_castps_si256(v[i]), _mm256_set1_epi32(0x7FFFFFFF)));
  }
  const std::int32_t bits = largest_of(most);
  float amax, scale = 0, inverse = 0;
  __builtin_memcpy(&amax, &bits, 4);
  if (bits >= 0x7F800000) {
    scale = __builtin_nanf("");
  } else if (amax >= 0x1p-100f) {
    scale = amax / 127.0f;
    inverse = 1.0f / scale;
  }
  // An infinity or a NaN times 0 is NaN, whose conversion is not 0: such blocks are masked out.
  const __m256i keep = _mm256_set1_epi32(inverse != 0 ? -1 : 0);
  __m256i q[4];
  SPARING_UNROLL
  for (int i = 0; i < 4; ++i)
    q[i] = _mm256_and_si256(keep, _mm256_cvtps_epi32(_mm256_mul_ps(v[i], _mm256_set1_ps(inverse))));
  const std::int32_t first = total_of(_mm256_add_epi32(q[0], q[1])), second = total_of(_mm256_add_epi32(q[2], q[3]));
  const __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out.codes[token]),
                      _mm256_permutevar8x32_epi32(packed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7)));
  const float sums[3] = {static_cast<float>(first + second), static_cast<float>(first), static_cast<float>(second)};
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

}  // namespace sparing::kernels::avx2
