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
//   scales  f16 [panel][group][16]; or codes of scale_bits [panel][group], then d f16 [panel][super][16]
//   zeros   nothing; or codes of zero_bits [panel][group]; or m f16 [panel][group][16]; coded_min: codes of zero_bits,
//           then dm f16 [panel][super][16]
// The 16 codes of a panel and group are planes again, 2 bytes per bit: in a plane of width p, row r is in byte r % 2p
// from bit r / 2p * p. Padding rows and inputs hold code 0 and scale 0.

#include <cstdint>
#include <span>
#include <vector>

#include "codecs/coded_weight.h"
#include "tensor/arena.h"

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

/// The int_group whose codes, scales and layout a lut_group shares.
IntGroupSpec as_int_group(const LutGroupSpec& spec);

/// Fills a blob row by row: what streams (transcoding) writes through this, and pack() does.
class IntGroupWriter {
 public:
  /// The blob comes from `arena` if there is one.
  static Result<IntGroupWriter> create(const IntGroupSpec& spec, std::int64_t rows, std::int64_t cols,
                                       Arena* arena = nullptr);
  /// `count` codes of a row from input `col`, a multiple of 4. Each place is written once.
  void codes(std::int64_t row, std::int64_t col, const std::uint8_t* codes, std::int64_t count);
  /// All 16 rows of a panel for one block of 32 inputs: row r's at codes + r * stride, zeros where padding.
  void block(std::int64_t panel, std::int64_t block, const std::uint8_t* codes, std::size_t stride);
  void scale_f16(std::int64_t row, std::int64_t group, std::uint16_t bits);
  void scale_code(std::int64_t row, std::int64_t group, std::uint32_t code);
  void scale_super(std::int64_t row, std::int64_t super, std::uint16_t bits);
  void zero_code(std::int64_t row, std::int64_t group, std::uint32_t code);
  void zero_f16(std::int64_t row, std::int64_t group, std::uint16_t bits);
  void zero_super(std::int64_t row, std::int64_t super, std::uint16_t bits);
  const IntGroupLayout& layout() const { return layout_; }
  Blob finish() && { return Blob::of(std::move(buffer_)); }

 private:
  IntGroupWriter() = default;
  IntGroupSpec spec_;
  IntGroupLayout layout_{};
  Buffer buffer_;
};

/// Packs into the stored layout. Errors: sizes that do not match, codes out of range.
Result<Term> pack(const IntGroupSpec& spec, std::int64_t rows, std::int64_t cols, const IntGroupParts& parts);
Result<Term> pack(const LutGroupSpec& spec, std::int64_t rows, std::int64_t cols, const IntGroupParts& parts);
Result<IntGroupParts> unpack(const Term& term, std::int64_t rows, std::int64_t cols);

/// One row as f32, s * (q - z) or s * q + m, each product and sum rounded on its own.
void decode_int_group_row(const IntGroupSpec& spec, const IntGroupLayout& layout, const std::byte* blob,
                          std::int64_t cols, std::int64_t row, float* out);
void decode_lut_group_row(const LutGroupSpec& spec, const IntGroupLayout& layout, const std::byte* blob,
                          std::int64_t cols, std::int64_t row, float* out);
/// Scale and minimum (or zero) of one row and group.
struct GroupValues {
  float scale = 0, minimum = 0;
  std::int32_t zero = 0;
};
GroupValues group_values(const IntGroupSpec& spec, const IntGroupLayout& layout, const std::byte* blob,
                         std::int64_t row, std::int64_t group);
/// One row's codes, `cols` of them.
void read_codes(const IntGroupSpec& spec, const IntGroupLayout& layout, const std::byte* blob, std::int64_t cols,
                std::int64_t row, std::uint8_t* out);
/// Coded scales of `count` groups of one row from `group`; also the minima's where they are coded.
void read_scale_codes(const IntGroupSpec& spec, const IntGroupLayout& layout, const std::byte* blob, std::int64_t row,
                      std::int64_t group, std::int64_t count, std::uint8_t* scales, std::uint8_t* minima);
/// f16 bits of a row's super-scale or super-minimum; `section` is the layout's scale_supers or zero_supers.
std::uint16_t super_bits(const IntGroupLayout& layout, const std::byte* blob, std::uint64_t section, std::int64_t row,
                         std::int64_t super);
/// Every f16 of the scales and minima is finite.
Status validate_scales(const IntGroupSpec& spec, const IntGroupLayout& layout, Bytes blob);

}  // namespace sparing
