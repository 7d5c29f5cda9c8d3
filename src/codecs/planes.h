#pragma once
// The bit planes of int_group.h, one quad (4 consecutive inputs of one row) or one row of 16 at a time. Header-only:
// packing, decoding and the reference kernels share it.

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace sparing {

/// Width and first bit of each plane that makes up `bits`.
struct Planes {
  int count = 0;
  int width[3] = {}, low[3] = {};
  explicit constexpr Planes(int bits) {
    int at = 0;
    for (int w : {8, 4, 2, 1}) {
      if ((w == 8 && bits != 8) || bits - at < w) continue;
      width[count] = w;
      low[count++] = at;
      at += w;
    }
  }
};

inline std::uint32_t load_u32(const std::byte* p) {
  std::uint32_t v;
  std::memcpy(&v, p, 4);
  return v;
}
inline std::uint16_t load_u16(const std::byte* p) {
  std::uint16_t v;
  std::memcpy(&v, p, 2);
  return v;
}
inline void store_u16(std::byte* p, std::uint16_t v) {
  std::memcpy(p, &v, 2);
}

/// ORs the codes of 4 inputs (one a byte) into a zeroed panel x block.
inline void or_quad(std::byte* block, const Planes& planes, int row, int quad, std::uint32_t codes) {
  for (int i = 0; i < planes.count; ++i) {
    const int p = planes.width[i], shift = quad % (8 / p) * p;
    const std::uint32_t mask = 0x01010101u * ((1u << p) - 1u);
    std::byte* at = block + quad / (8 / p) * 64 + 4 * row;
    const std::uint32_t word = load_u32(at) | (((codes >> planes.low[i]) & mask) << shift);
    std::memcpy(at, &word, 4);
    block += 64 * p;
  }
}

/// A whole panel x block from one code a byte: 32 inputs of row r at codes + r * stride. Equal to or_quad on all.
template <int width>
inline void store_plane(std::byte* at, int low, const std::uint8_t* codes, std::size_t stride) {
  constexpr int per_byte = 8 / width;
  constexpr std::uint32_t mask = 0x01010101u * ((1u << width) - 1u);
  for (std::size_t row = 0; row < 16; ++row) {
    std::uint32_t quads[8];
    std::memcpy(quads, codes + row * stride, sizeof quads);
    for (std::size_t j = 0; j < width; ++j) {
      std::uint32_t word = 0;
      for (int k = 0; k < per_byte; ++k)
        word |= ((quads[j * per_byte + static_cast<std::size_t>(k)] >> low) & mask) << (k * width);
      std::memcpy(at + 64 * j + 4 * row, &word, 4);
    }
  }
}
inline void store_block(std::byte* block, const Planes& planes, const std::uint8_t* codes, std::size_t stride) {
  for (int i = 0; i < planes.count; ++i) {
    switch (planes.width[i]) {
      case 8:
        store_plane<8>(block, planes.low[i], codes, stride);
        break;
      case 4:
        store_plane<4>(block, planes.low[i], codes, stride);
        break;
      case 2:
        store_plane<2>(block, planes.low[i], codes, stride);
        break;
      default:
        store_plane<1>(block, planes.low[i], codes, stride);
    }
    block += 64 * planes.width[i];
  }
}

inline std::uint32_t read_quad(const std::byte* block, const Planes& planes, int row, int quad) {
  std::uint32_t codes = 0;
  for (int i = 0; i < planes.count; ++i) {
    const int p = planes.width[i], shift = quad % (8 / p) * p;
    const std::uint32_t mask = 0x01010101u * ((1u << p) - 1u);
    codes |= ((load_u32(block + quad / (8 / p) * 64 + 4 * row) >> shift) & mask) << planes.low[i];
    block += 64 * p;
  }
  return codes;
}

/// Codes of 16 rows: a plane of width p has 2 p bytes, row r in byte r % 2p from bit r / 2p * p.
inline void or_row_code(std::byte* at, const Planes& planes, int row, std::uint32_t code) {
  for (int i = 0; i < planes.count; ++i) {
    const int p = planes.width[i];
    at[row % (2 * p)] |= static_cast<std::byte>(((code >> planes.low[i]) & ((1u << p) - 1u)) << (row / (2 * p) * p));
    at += 2 * p;
  }
}

inline std::uint32_t read_row_code(const std::byte* at, const Planes& planes, int row) {
  std::uint32_t code = 0;
  for (int i = 0; i < planes.count; ++i) {
    const int p = planes.width[i];
    code |= ((static_cast<std::uint32_t>(at[row % (2 * p)]) >> (row / (2 * p) * p)) & ((1u << p) - 1u))
            << planes.low[i];
    at += 2 * p;
  }
  return code;
}

}  // namespace sparing
