#pragma once
// Compressed sparse rows (SpQR's outliers, arXiv:2306.03078): layout in coded_weight.h.

#include <cstdint>
#include <vector>

#include "codecs/coded_weight.h"

namespace sparing {

/// Byte offsets of the sections; all are 64-byte aligned, total included.
struct CsrLayout {
  std::uint64_t row_start = 0, columns, values, total;
};
Result<CsrLayout> layout_of(const CsrSpec& spec, std::int64_t rows, std::int64_t cols);

/// Packs rows of (column, f16 bits), columns ascending. `row_start` has rows + 1 entries.
Result<Term> pack_csr(std::int64_t rows, std::int64_t cols, const std::vector<std::uint32_t>& row_start,
                      const std::vector<std::uint32_t>& columns, const std::vector<std::uint16_t>& values);
/// Row starts ascend, columns ascend and are in range: what keeps a product inside its memory. Deep: finite values.
Status validate_csr(const CsrSpec& spec, std::int64_t rows, std::int64_t cols, Bytes blob, bool deep);
/// out[c] += value for one row.
void add_csr_row(const CsrSpec& spec, const CsrLayout& layout, const std::byte* blob, std::int64_t row, float* out);

}  // namespace sparing
