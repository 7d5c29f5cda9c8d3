#pragma once
// For the amx_*.cpp files alone: everything here has internal linkage.

#include "kernels/avx512.h"
#include "kernels/avx512_common.h"
#if defined(SPARING_EMULATED_TILES)
#include "kernels/tile_emulation.h"
#endif

namespace sparing::kernels::amx {
namespace {

struct alignas(64) TileConfig {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t bytes[16] = {};
  std::uint8_t rows[16] = {};
};

/// GCC 12's tile intrinsics do not say that they read memory: nothing written before may be moved behind them.
inline void written(const void* p) {
  __asm__ volatile("" : : "r"(p) : "memory");
}
inline void load_config(const TileConfig& config) {
  written(&config);
  _tile_loadconfig(&config);
}

struct Panel {
  const std::byte* codes;  ///< [block][8][64], zero subtracted
  Groups groups;
};

/// The zero of every code of a panel, subtracted in place; tables hold value + 128.
inline void subtract_zeros(const IntWeight& w, const Groups& groups, std::byte* codes) {
  if (w.spec.zero != ZeroKind::constant && w.spec.zero != ZeroKind::integer) return;
  const bool integer = w.spec.zero == ZeroKind::integer;
  const std::int64_t quads = w.layout.blocks * 8;
  const std::int64_t length = !integer ? quads : w.segments == SegmentKind::half ? 4 : 8 * w.blocks_per_group;
  Ints zero = _mm512_set1_epi8(static_cast<char>(w.table != nullptr ? 128 : w.spec.zero_offset));
  const float* second = groups.second;
  for (std::int64_t q = 0; q < quads; second += 16) {
    // The last block's second half may be of no group: its codes meet zeros.
    if (integer && second < groups.second + 16 * w.layout.groups)
      zero = _mm512_mullo_epi32(_mm512_cvtps_epi32(_mm512_loadu_ps(second)), _mm512_set1_epi32(0x01010101));
    const std::int64_t stop = quads - q < length ? quads : q + length;
    for (; q < stop; ++q) {
      std::byte* at = codes + 64 * q;
      _mm512_storeu_si512(at, _mm512_sub_epi8(load_bytes(at), zero));
    }
  }
}

/// A panel's codes as signed bytes, their zeros subtracted, and its groups.
inline void unpack_signed(const IntWeight& w, std::int64_t panel, const Groups& groups, std::byte* codes) {
  avx512::unpack_panel(w, panel, codes);
  decode_groups(w, panel, groups);
  subtract_zeros(w, groups, codes);
  written(codes);
}

/// Codes less their zeros must be signed bytes.
inline bool fits(const IntWeight& w) {
  if (w.segments != SegmentKind::whole && w.segments != SegmentKind::half) return false;
  if (w.table != nullptr) return true;
  if (w.spec.zero == ZeroKind::constant) return w.spec.bits < 8 || w.spec.zero_offset == 128;
  return w.spec.bits < 8 && (w.spec.zero != ZeroKind::integer || w.spec.zero_bits < 8);
}

}  // namespace
}  // namespace sparing::kernels::amx
