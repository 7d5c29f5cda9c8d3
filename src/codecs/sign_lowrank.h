#pragma once
// sign_lowrank (after BitStack, arXiv:2410.23918): the stored layout, packing and unpacking.
//
//   signs   u16 [rows / 16][cols / 16][16 rows]: bit i, lowest first, is input i's of 16; set: minus. Padding holds 0
//   factors as in lowrank.h
// each section 64-byte aligned. A value is minus or plus m, m = fma(outer[k, r], inner[k, c], m) over the components k,
// ascending, from 0.

#include <cstdint>
#include <vector>

#include "codecs/lowrank.h"

namespace sparing {

inline constexpr std::int32_t kMostSignComponents = 64;

struct SignLowRankLayout {
  std::int64_t panels = 0, steps = 0;  ///< of 16 rows; of 16 inputs
  std::uint64_t signs = 0;
  LowRankLayout factors;
  std::uint64_t total = 0;
};
Result<SignLowRankLayout> layout_of(const SignLowRankSpec& spec, std::int64_t rows, std::int64_t cols);

/// minus: [rows, cols], not 0 for minus. Errors as lowrank's.
Result<Term> pack(const SignLowRankSpec& spec, std::int64_t rows, std::int64_t cols,
                  const std::vector<std::uint8_t>& minus, const FactorParts& inner, const FactorParts& outer);
/// Whether a value is minus its magnitude.
bool is_minus(const SignLowRankLayout& layout, const std::byte* blob, std::int64_t row, std::int64_t col);
/// out[r, c] += the values of rows [row, row + count).
void add_sign_lowrank_rows(const SignLowRankSpec& spec, std::int64_t rows, std::int64_t cols, const std::byte* blob,
                           std::int64_t row, std::int64_t count, float* out);
/// The sum of the squares of its values.
double sign_lowrank_squares(const SignLowRankSpec& spec, std::int64_t rows, std::int64_t cols, const std::byte* blob);
/// Every scale and every f16 value is finite.
Status validate_sign_lowrank_values(const SignLowRankSpec& spec, std::int64_t rows, std::int64_t cols, Bytes blob);

}  // namespace sparing
