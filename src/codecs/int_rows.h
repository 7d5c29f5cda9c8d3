#pragma once
// int_rows: some rows of a matrix in integer codes, the others zero; beside another term, rows that get more bits.
//
//   index  u32 [count]: which rows, ascending
//   codes  an int_group's blob (int_group.h) of count x cols
// each section 64-byte aligned.

#include <cstdint>
#include <vector>

#include "codecs/int_group.h"

namespace sparing {

struct IntRowsLayout {
  std::uint64_t index = 0, codes = 0, total = 0;
  IntGroupLayout of_codes{};  ///< offsets from `codes`
};
Result<IntRowsLayout> layout_of(const IntRowsSpec& spec, std::int64_t rows, std::int64_t cols);

/// parts: of index.size() rows. Errors: rows out of order or range, and int_group's.
Result<Term> pack_int_rows(const IntGroupSpec& codes, std::int64_t rows, std::int64_t cols,
                           const std::vector<std::uint32_t>& index, const IntGroupParts& parts);
/// Rows ascend and are in range: what keeps a product inside its memory. Deep: finite scales too.
Status validate_int_rows(const IntRowsSpec& spec, std::int64_t rows, std::int64_t cols, Bytes blob, bool deep);
/// The i-th of its rows.
std::uint32_t coded_row(const std::byte* blob, std::int64_t i);
/// out[r, c] += the values of rows [row, row + count) of the whole matrix.
void add_int_rows(const IntRowsSpec& spec, std::int64_t rows, std::int64_t cols, const std::byte* blob,
                  std::int64_t row, std::int64_t count, float* out);

}  // namespace sparing
