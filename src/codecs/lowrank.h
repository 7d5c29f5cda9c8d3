#pragma once
// lowrank: the stored layout of its factors, packing and unpacking.
//
// A factor is [rank, n], n the matrix's inputs (inner) or outputs (outer). Values along n come in lanes of 16, the last
// padded with codes that mean zero:
//   codes   [n / 16][rank][16]: f16; bytes; or 8 bytes, value i < 8 of the lanes in byte i's low half, i + 8 in its
//   high scales  f16 [group][rank]; nothing at 16 bits
// and a blob is inner codes, inner scales, outer codes, outer scales, each 64-byte aligned. So the lanes of one
// component are one load for both products: sums over the inputs keep 16 lanes apart, and 16 outputs are a panel.
// Panels of int_group would pad the rank to 16 components and 32 inputs: at rank 8 three times the bytes.

#include <cstdint>
#include <span>
#include <vector>

#include "codecs/coded_weight.h"
#include "codecs/sections.h"

namespace sparing {

inline constexpr int kFactorLanes = 16;

struct FactorLayout {
  std::int64_t steps = 0, groups = 0;   ///< lanes of 16 along n; scales a component
  std::int64_t lane_bytes = 0;          ///< of one component's 16 values: 2 * bits
  std::uint64_t codes = 0, scales = 0;  ///< offsets in the blob
};
struct LowRankLayout {
  FactorLayout inner, outer;
  std::uint64_t total = 0;
};
Result<LowRankLayout> layout_of(const LowRankSpec& spec, std::int64_t rows, std::int64_t cols);
/// The same behind what other codings keep in front, for a spec that has been validated: sections are appended.
LowRankLayout append_factors(const LowRankSpec& spec, std::int64_t rows, std::int64_t cols, Sections& sections);

/// A factor taken apart, row-major [rank, n]: f16 bits or codes, and scales [rank, groups] as f16 bits.
struct FactorParts {
  std::vector<std::uint16_t> codes;
  std::vector<std::uint16_t> scales;
};
/// Errors: sizes that do not match, codes out of range.
Result<Term> pack(const LowRankSpec& spec, std::int64_t rows, std::int64_t cols, const FactorParts& inner,
                  const FactorParts& outer);

/// Both factors into a zeroed blob of that layout. Errors as pack's.
Status write_factors(const LowRankSpec& spec, const LowRankLayout& layout, std::int64_t rows, std::int64_t cols,
                     const FactorParts& inner, const FactorParts& outer, std::byte* blob);

/// 16 values of a component, padding as zeros: scale * (code - 2^(bits - 1)), which is exact.
void decode_lanes(const FactorSpec& spec, const FactorLayout& layout, std::int64_t rank, const std::byte* blob,
                  std::int64_t step, std::int64_t component, float* out);
/// A whole factor as f32, [rank, n].
std::vector<float> decode_factor(const FactorSpec& spec, const FactorLayout& layout, std::int64_t rank,
                                 const std::byte* blob, std::int64_t n);
/// out[r, c] += sum over the components, ascending, each product and sum rounded; rows [row, row + count).
void add_lowrank_rows(const LowRankSpec& spec, std::int64_t rows, std::int64_t cols, const std::byte* blob,
                      std::int64_t row, std::int64_t count, float* out);
/// Every scale and every f16 value is finite.
Status validate_factors(const char* codec, const LowRankSpec& spec, const LowRankLayout& layout, Bytes blob);
Status validate_lowrank_values(const LowRankSpec& spec, std::int64_t rows, std::int64_t cols, Bytes blob);

}  // namespace sparing
