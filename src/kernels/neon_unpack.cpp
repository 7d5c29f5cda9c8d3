#include "kernels/neon.h"
#include "kernels/neon_common.h"
#include "kernels/vq_expand.h"

namespace sparing::kernels::neon {
namespace {

/// ORs one plane of 8 quads, 4 rows of them, into w: bits [LOW, LOW + WIDTH) of every code.
template <int WIDTH, int LOW>
inline void add_plane(const std::byte* from, uint8x16_t (&w)[8]) {
  constexpr int kPerChunk = 8 / WIDTH;
  const uint8x16_t mask = vdupq_n_u8(((1 << WIDTH) - 1) << LOW);
  SPARING_UNROLL
  for (int j = 0; j < WIDTH; ++j) {
    const uint8x16_t chunk = vld1q_u8(bytes_at(from + 64 * j));
    SPARING_UNROLL
    for (int k = 0; k < kPerChunk; ++k) {
      const auto shift = static_cast<std::int8_t>(LOW - k * WIDTH);
      const uint8x16_t part = vandq_u8(vshlq_u8(chunk, vdupq_n_s8(shift)), mask);
      w[j * kPerChunk + k] = LOW == 0 ? part : vorrq_u8(w[j * kPerChunk + k], part);
    }
  }
}

template <int BITS>
void unpack(const IntWeight& w, const std::byte* from, std::byte* to) {
  const bool lookup = w.table != nullptr && BITS <= 4;
  std::uint8_t padded[16] = {};
  if (lookup)
    for (int i = 0; i < (1 << BITS) && i < 16; ++i) padded[i] = w.table[i];
  const uint8x16_t table = vld1q_u8(padded), bias = vdupq_n_u8(static_cast<std::uint8_t>(code_bias(w)));
  for (std::int64_t b = 0; b < w.layout.blocks; ++b, from += 64 * BITS, to += 512) {
    for (int rows = 0; rows < 64; rows += 16) {
      uint8x16_t codes[8];
      const std::byte* part = from + rows;
      if constexpr (BITS == 8) {
        SPARING_UNROLL
        for (int q = 0; q < 8; ++q) codes[q] = vld1q_u8(bytes_at(part + 64 * q));
      } else if constexpr (BITS >= 4) {
        add_plane<4, 0>(part, codes);
        if constexpr ((BITS & 2) != 0) add_plane<2, 4>(part + 256, codes);
        if constexpr ((BITS & 1) != 0) add_plane<1, BITS - 1>(part + 64 * (BITS - 1), codes);
      } else {
        add_plane<2, 0>(part, codes);
        if constexpr (BITS == 3) add_plane<1, 2>(part + 128, codes);
      }
      SPARING_UNROLL
      for (int q = 0; q < 8; ++q) {
        uint8x16_t v = lookup ? vqtbl1q_u8(table, codes[q]) : codes[q];
        if (w.table == nullptr || lookup) v = vsubq_u8(v, bias);
        vst1q_u8(reinterpret_cast<std::uint8_t*>(to + 64 * q + rows), v);
      }
    }
    if (w.table != nullptr && !lookup)
      for (int i = 0; i < 512; ++i) to[i] = static_cast<std::byte>(w.table[static_cast<std::uint8_t>(to[i])] ^ 0x80);
  }
}

}  // namespace

void unpack_panel(const IntWeight& w, std::int64_t panel, std::byte* to) {
  if (w.vq.entries != nullptr) return expand_vq<true>(w, panel, to);
  using Unpack = void (*)(const IntWeight&, const std::byte*, std::byte*);
  static constexpr Unpack kWidths[] = {unpack<2>, unpack<3>, unpack<4>, unpack<5>, unpack<6>, unpack<7>, unpack<8>};
  kWidths[w.spec.bits - 2](w, w.blob + w.layout.codes + panel * w.layout.blocks * w.layout.block_bytes, to);
}

}  // namespace sparing::kernels::neon
