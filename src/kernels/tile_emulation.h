#pragma once
// The tile instructions that amx_*.cpp use, in plain C++ (Intel's manual, volume 2: LDTILECFG, TILELOADD, TDPBSSD,
// TDPBSUD, TDPBF16PS, TILESTORED): processors without the tile unit then test those kernels, of integers every bit.
// Tests only.

#include <immintrin.h>

#include <cstdint>
#include <cstring>

namespace sparing::kernels::emulated {
namespace {

struct Tiles {
  std::uint8_t rows[16] = {};
  std::uint16_t bytes[16] = {};
  std::uint8_t data[8][16][64] = {};
};
thread_local Tiles tiles;

inline void load_config(const void* config) {
  const auto* from = static_cast<const std::uint8_t*>(config);
  std::memcpy(tiles.bytes, from + 16, sizeof tiles.bytes);
  std::memcpy(tiles.rows, from + 48, sizeof tiles.rows);
}
inline void release() {
  tiles = {};
}
inline void zero(int tile) {
  std::memset(tiles.data[tile], 0, sizeof tiles.data[tile]);
}
inline void load(int tile, const void* from, std::int64_t stride) {
  zero(tile);
  for (int r = 0; r < tiles.rows[tile]; ++r)
    std::memcpy(tiles.data[tile][r], static_cast<const std::uint8_t*>(from) + r * stride, tiles.bytes[tile]);
}
inline void store(int tile, void* to, std::int64_t stride) {
  for (int r = 0; r < tiles.rows[tile]; ++r)
    std::memcpy(static_cast<std::uint8_t*>(to) + r * stride, tiles.data[tile][r], tiles.bytes[tile]);
}
/// sums[m][n] += sum over k and 4 bytes of a[m][4 k + i] * b[k][4 n + i].
template <class A, class B>
inline void multiply(int sums, int a, int b) {
  for (int m = 0; m < tiles.rows[sums]; ++m)
    for (int n = 0; n < tiles.bytes[sums] / 4; ++n) {
      std::int32_t sum;
      std::memcpy(&sum, tiles.data[sums][m] + 4 * n, 4);
      for (int k = 0; k < tiles.bytes[a] / 4; ++k)
        for (int i = 0; i < 4; ++i)
          sum += static_cast<A>(tiles.data[a][m][4 * k + i]) * static_cast<B>(tiles.data[b][k][4 * n + i]);
      std::memcpy(tiles.data[sums][m] + 4 * n, &sum, 4);
    }
}
/// sums[m][n] += sum over k and 2 halves of a[m][2 k + i] * b[k][2 n + i], bf16 times bf16 in f32.
inline void multiply_bf16(int sums, int a, int b) {
  const auto at = [](const std::uint8_t* half) {
    std::uint16_t bits;
    std::memcpy(&bits, half, 2);
    const std::uint32_t wide = static_cast<std::uint32_t>(bits) << 16;
    float value;
    std::memcpy(&value, &wide, 4);
    return value;
  };
  for (int m = 0; m < tiles.rows[sums]; ++m)
    for (int n = 0; n < tiles.bytes[sums] / 4; ++n) {
      float sum;
      std::memcpy(&sum, tiles.data[sums][m] + 4 * n, 4);
      for (int k = 0; k < tiles.bytes[a] / 4; ++k)
        for (int i = 0; i < 2; ++i) sum += at(tiles.data[a][m] + 4 * k + 2 * i) * at(tiles.data[b][k] + 4 * n + 2 * i);
      std::memcpy(tiles.data[sums][m] + 4 * n, &sum, 4);
    }
}

}  // namespace
}  // namespace sparing::kernels::emulated

#undef _tile_zero
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbssd
#undef _tile_dpbsud
#undef _tile_dpbf16ps
#define _tile_loadconfig(config) emulated::load_config(config)
#define _tile_release() emulated::release()
#define _tile_zero(tile) emulated::zero(tile)
#define _tile_loadd(tile, from, stride) emulated::load(tile, from, stride)
#define _tile_stored(tile, to, stride) emulated::store(tile, to, stride)
#define _tile_dpbssd(sums, a, b) emulated::multiply<std::int8_t, std::int8_t>(sums, a, b)
#define _tile_dpbsud(sums, a, b) emulated::multiply<std::int8_t, std::uint8_t>(sums, a, b)
#define _tile_dpbf16ps(sums, a, b) emulated::multiply_bf16(sums, a, b)
