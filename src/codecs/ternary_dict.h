#pragma once
// ternary_dict: rows of {low, 0, high} in words of 16 bits from a fixed dictionary (QMoE, arXiv:2310.16795). Where most
// weights are zero a word covers many: below one bit a weight in all.
//
// The dictionary is part of the format. Its symbols are pairs of weights, each 0, low or high; a word stands for up to
// 14 pairs. Let a weight be zero with probability .885 and low or high with .0575 each. Sequences are taken from the
// likeliest on until there are 2^16: by classes of n pairs of which k weights are not zero, probability
// .885^(2n - k) * .0575^k (powers by repeated multiplication in doubles, then one product), equal ones by n, then k.
// Within a class they go by their weights, the first ones leading, 0 before low before high. A sequence is likelier
// than those it begins, so all that begin one are in, and a row is cut greedily into the longest that are in.
//
// Order in the blob, every section 64-byte aligned: row_start u32 [rows + 1], counted in words; levels f16 [rows][low,
// high]; words u16. A row of an odd number of weights ends with a zero more.

#include <cstdint>
#include <span>
#include <vector>

#include "codecs/coded_weight.h"

namespace sparing {

inline constexpr std::size_t kTernaryWords = 65536;
inline constexpr int kTernaryPairs = 14;  ///< of the longest word

/// What each word stands for: weight i's code in bits 2i and 2i + 1 (0: zero, 1: low, 2: high), and in the top byte how
/// many weights there are. [kTernaryWords], made at the first call.
std::span<const std::uint64_t> ternary_dictionary();
inline int ternary_length(std::uint64_t word) {
  return static_cast<int>(word >> 56);
}
inline constexpr std::uint64_t kTernaryCodes = (std::uint64_t{1} << 56) - 1;

struct TernaryLayout {
  std::uint64_t row_start = 0, levels, words, total;
};
Result<TernaryLayout> layout_of(const TernaryDictSpec& spec, std::int64_t rows, std::int64_t cols);

/// codes [rows, cols]: 0 zero, 1 low, 2 high. levels [rows, 2]: f16 bits.
Result<Term> pack_ternary(std::int64_t rows, std::int64_t cols, std::span<const std::uint8_t> codes,
                          std::span<const std::uint16_t> levels);
/// One row's codes back.
void read_ternary_row(const TernaryLayout& layout, const std::byte* blob, std::int64_t cols, std::int64_t row,
                      std::uint8_t* codes);
void decode_ternary_row(const TernaryLayout& layout, const std::byte* blob, std::int64_t cols, std::int64_t row,
                        float* out);
/// Rows ascend and each one's words are as long as a row: what keeps a product inside its memory. Deep: finite levels.
Status validate_ternary(const TernaryDictSpec& spec, std::int64_t rows, std::int64_t cols, Bytes blob, bool deep);

}  // namespace sparing
