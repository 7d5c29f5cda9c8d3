#include "kernels/avx512.h"
#include "kernels/avx512_common.h"

namespace sparing::kernels::avx512 {
namespace {

inline void quantise_block(const float* x, std::int64_t inputs, std::int64_t token, Q8Block& out) {
  const auto count = static_cast<unsigned>(inputs < 32 ? inputs : 32);
  const std::uint32_t mask = count == 32 ? ~0u : (1u << count) - 1u;
  const auto low = static_cast<__mmask16>(mask), high = static_cast<__mmask16>(mask >> 16);
  const Floats a = _mm512_maskz_loadu_ps(low, x), b = _mm512_maskz_loadu_ps(high, x + 16);
  const Ints magnitude = _mm512_set1_epi32(0x7FFFFFFF);
  const Ints most = _mm512_max_epi32(_mm512_and_si512(_mm512_castps_si512(a), magnitude),
                                     _mm512_and_si512(_mm512_castps_si512(b), magnitude));
  const std::int32_t bits = _mm512_reduce_max_epi32(most);
  float amax, scale = 0, inverse = 0;
  __builtin_memcpy(&amax, &bits, 4);
  if (bits >= 0x7F800000) {
    scale = __builtin_nanf("");
  } else if (amax >= 0x1p-100f) {
    scale = amax / 127.0f;
    inverse = 1.0f / scale;
  }
  const Floats factor = _mm512_set1_ps(inverse);
  // An infinity or a NaN times 0 is NaN, whose conversion is not 0: such blocks are masked out.
  const __mmask16 keep = inverse != 0 ? 0xFFFF : 0;
  const Ints qa = _mm512_maskz_cvtps_epi32(keep, _mm512_mul_ps(a, factor));
  const Ints qb = _mm512_maskz_cvtps_epi32(keep, _mm512_mul_ps(b, factor));
  auto* codes = reinterpret_cast<__m128i*>(out.codes[token]);
  _mm_storeu_si128(codes, _mm512_cvtepi32_epi8(qa));
  _mm_storeu_si128(codes + 1, _mm512_cvtepi32_epi8(qb));
  const std::int32_t first = _mm512_reduce_add_epi32(qa), second = _mm512_reduce_add_epi32(qb);
  const float sums[3] = {static_cast<float>(first + second), static_cast<float>(first), static_cast<float>(second)};
  out.scale[token] = scale;
  for (int i = 0; i < 3; ++i) out.scaled_sum[i][token] = sums[i] * scale;
}

}  // namespace

void quantise(const float* x, std::int64_t tokens, std::int64_t x_stride, std::int64_t cols, std::int64_t tile,
              Q8Block* out) {
  const std::int64_t first = tile * kTileTokens;
  const std::int64_t last = tokens < first + kTileTokens ? tokens : first + kTileTokens;
  for (std::int64_t t = first; t < last; ++t)
    for (std::int64_t c = 0; c < cols; c += 32) quantise_block(x + t * x_stride + c, cols - c, t - first, out[c / 32]);
}

}  // namespace sparing::kernels::avx512
