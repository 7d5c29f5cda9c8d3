#include "kernels/avx2.h"
#include "kernels/avx2_common.h"
#include "kernels/vq_expand.h"

namespace sparing::kernels::avx2 {
namespace {

/// ORs one plane of 8 quads, 8 rows of them, into w: bits [LOW, LOW + WIDTH) of every code.
template <int WIDTH, int LOW>
inline void add_plane(const std::byte* from, __m256i (&w)[8]) {
  constexpr int kPerChunk = 8 / WIDTH;
  const __m256i mask = _mm256_set1_epi8(static_cast<char>(((1 << WIDTH) - 1) << LOW));
  SPARING_UNROLL
  for (int j = 0; j < WIDTH; ++j) {
    const __m256i chunk = load_bytes(from + 64 * j);
    SPARING_UNROLL
    for (int k = 0; k < kPerChunk; ++k) {
      const int shift = k * WIDTH - LOW;
      const __m256i moved = shift > 0   ? _mm256_srli_epi16(chunk, shift)
                            : shift < 0 ? _mm256_slli_epi16(chunk, -shift)
                                        : chunk;
      const __m256i part = _mm256_and_si256(moved, mask);
      w[j * kPerChunk + k] = LOW == 0 ? part : _mm256_or_si256(w[j * kPerChunk + k], part);
    }
  }
}

template <int BITS>
void unpack(const IntWeight& w, const std::byte* from, std::byte* to) {
  const bool shuffle = w.table != nullptr && BITS <= 4;
  std::uint8_t padded[16] = {};
  if (shuffle)
    for (int i = 0; i < (1 << BITS) && i < 16; ++i) padded[i] = w.table[i];
  const __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(padded)));
  for (std::int64_t b = 0; b < w.layout.blocks; ++b, from += 64 * BITS, to += 512) {
    for (int h = 0; h < 64; h += 32) {
      __m256i codes[8];
      const std::byte* half = from + h;
      if constexpr (BITS == 8) {
        SPARING_UNROLL
        for (int q = 0; q < 8; ++q) codes[q] = load_bytes(half + 64 * q);
      } else if constexpr (BITS >= 4) {
        add_plane<4, 0>(half, codes);
        if constexpr ((BITS & 2) != 0) add_plane<2, 4>(half + 256, codes);
        if constexpr ((BITS & 1) != 0) add_plane<1, BITS - 1>(half + 64 * (BITS - 1), codes);
      } else {
        add_plane<2, 0>(half, codes);
        if constexpr (BITS == 3) add_plane<1, 2>(half + 128, codes);
      }
      SPARING_UNROLL
      for (int q = 0; q < 8; ++q)
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 64 * q + h),
                            shuffle ? _mm256_shuffle_epi8(table, codes[q]) : codes[q]);
    }
    if (w.table != nullptr && !shuffle)
      for (int i = 0; i < 512; ++i) to[i] = static_cast<std::byte>(w.table[static_cast<std::uint8_t>(to[i])]);
  }
}

}  // namespace

void unpack_panel(const IntWeight& w, std::int64_t panel, std::byte* to) {
  if (w.vq.entries != nullptr) return expand_vq<false>(w, panel, to);
  using Unpack = void (*)(const IntWeight&, const std::byte*, std::byte*);
  static constexpr Unpack kWidths[] = {unpack<2>, unpack<3>, unpack<4>, unpack<5>, unpack<6>, unpack<7>, unpack<8>};
  kWidths[w.spec.bits - 2](w, w.blob + w.layout.codes + panel * w.layout.blocks * w.layout.block_bytes, to);
}

}  // namespace sparing::kernels::avx2
