#pragma once
// int_group and lut_group: the stored layout, packing and unpacking.
//
// Rows come in panels of 16 (padded), inputs in blocks of 32 (padded). A panel x block holds 64 * bits bytes: bit
// planes of width 4, 2 and 1, low bits first, that add up to `bits` (8 is one plane of bytes; 7 = 4 + 2 + 1; 6 = 4 + 2;
// 5 = 4 + 1; 3 = 2 + 1). A plane of width p keeps 8 quads of 4 inputs: chunk j of 64 bytes (j < p) holds in the byte at
// 4 * row + input % 4 the codes of quads j * 8/p ... , lowest quad in the lowest bits. So one 64-byte load, a shift and
// a mask give 16 rows x 4 inputs of u8: the operand of vpdpbusd, of an AMX tile row, of two AVX2 registers and of four
// NEON ones. Order in the blob, every section 64-byte aligned:
//   codes   [panel][block of 32 inputs][planes]
//   scales  f16 [panel][group][16], or codes packed as planes of 16 (2 bytes per bit) [panel][group], then d f16
//   [panel][super][16] zeros   nothing; or codes of zero_bits packed likewise; or m f16 [panel][group][16]; coded_min:
//   codes, then dm f16 [panel][super][16]
// Padding rows and inputs hold code 0 and scale 0.

#include <cstdint>
#include <span>
#include <vector>

#include "codecs/coded_weight.h"

namespace sparing {

inline constexpr int kPanelRows = 16, kBlockInputs = 32;

/// Where each section of a blob starts. Computed from the spec alone.
struct IntGroupLayout {
  std::int64_t panels, blocks, groups, supers;
  std::int64_t block_bytes;  ///< 64 * bits
  std::uint64_t codes, scales, scale_supers, zeros, zero_supers,
      total;                                         ///< byte offsets; sections that are absent are empty
  std::int64_t scale_group_bytes, zero_group_bytes;  ///< bytes per panel and group
};
Result<IntGroupLayout> layout_of(const IntGroupSpec& spec, std::int64_t rows, std::int64_t cols);
Result<IntGroupLayout> layout_of(const LutGroupSpec& spec, std::int64_t rows, std::int64_t cols);

/// A weight taken apart, in plain row-major order: what methods produce and tests compare.
struct IntGroupParts {
  std::vector<std::uint8_t> codes;         ///< [rows, cols]
  std::vector<std::uint16_t> scale_f16;    ///< ScaleKind::f16: [rows, groups] bits
  std::vector<std::uint8_t> scale_codes;   ///< coded: [rows, groups]
  std::vector<std::uint16_t> scale_super;  ///< coded: [rows, supers] f16 bits
  std::vector<std::uint8_t> zero_codes;    ///< integer, coded_min: [rows, groups]
  std::vector<std::uint16_t> zero_f16;     ///< f16_min: [rows, groups]
  std::vector<std::uint16_t> zero_super;   ///< coded_min: [rows, supers]
};

/// Packs into the stored layout. Errors: sizes that do not match, codes out of range.
Result<Term> pack(const IntGroupSpec& spec, std::int64_t rows, std::int64_t cols, const IntGroupParts& parts);
Result<Term> pack(const LutGroupSpec& spec, std::int64_t rows, std::int64_t cols, const IntGroupParts& parts);
Result<IntGroupParts> unpack(const Term& term, std::int64_t rows, std::int64_t cols);

}  // namespace sparing
