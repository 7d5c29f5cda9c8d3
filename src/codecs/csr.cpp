#include "codecs/csr.h"

#include <cstring>

#include "base/checked.h"
#include "codecs/planes.h"
#include "tensor/half.h"

namespace sparing {

Result<CsrLayout> layout_of(const CsrSpec& spec, std::int64_t rows, std::int64_t cols) {
  SPARING_CHECK_OK(validate(CodecSpec(spec), rows, cols));
  // validate() bounds rows by 2^40 and nonzeros by 2^32: no overflow below.
  CsrLayout l{};
  const auto n = static_cast<std::uint64_t>(spec.nonzeros);
  l.columns = round_up((static_cast<std::uint64_t>(rows) + 1) * 4, 64);
  l.values = l.columns + round_up(n * (spec.wide_index ? 4 : 2), 64);
  l.total = l.values + round_up(n * 2, 64);
  return l;
}

namespace {

std::uint32_t column_at(const CsrSpec& spec, const std::byte* columns, std::uint64_t i) {
  return spec.wide_index ? load_u32(columns + 4 * i) : load_u16(columns + 2 * i);
}

}  // namespace

Result<Term> pack_csr(std::int64_t rows, std::int64_t cols, const std::vector<std::uint32_t>& row_start,
                      const std::vector<std::uint32_t>& columns, const std::vector<std::uint16_t>& values) {
  if (row_start.size() != static_cast<std::size_t>(rows) + 1 || columns.size() != values.size())
    return internal_error("[pack csr] " + std::to_string(row_start.size()) + " row starts, " +
                          std::to_string(columns.size()) + " columns, " + std::to_string(values.size()) +
                          " values: sizes do not match");
  const CsrSpec spec{.nonzeros = static_cast<std::int64_t>(values.size()), .wide_index = cols > 65536};
  SPARING_TRY(const CsrLayout l, layout_of(spec, rows, cols));
  Buffer buffer(l.total);
  std::memcpy(buffer.data(), row_start.data(), row_start.size() * 4);
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (columns[i] >= static_cast<std::uint64_t>(cols))
      return internal_error("[pack csr] column " + std::to_string(columns[i]) + " of " + std::to_string(cols));
    if (spec.wide_index) {
      std::memcpy(buffer.data() + l.columns + 4 * i, &columns[i], 4);
    } else {
      store_u16(buffer.data() + l.columns + 2 * i, static_cast<std::uint16_t>(columns[i]));
    }
    store_u16(buffer.data() + l.values + 2 * i, values[i]);
  }
  SPARING_CHECK_OK(validate_csr(spec, rows, cols, {buffer.data(), buffer.size()}, true));
  return Term{spec, Blob::of(std::move(buffer))};
}

Status validate_csr(const CsrSpec& spec, std::int64_t rows, std::int64_t cols, Bytes blob, bool deep) {
  SPARING_TRY(const CsrLayout l, layout_of(spec, rows, cols));
  const std::byte* base = blob.data();
  std::uint32_t start = load_u32(base);
  if (start != 0) return input_error("[csr] the first row starts at " + std::to_string(start) + ": must be 0");
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::uint32_t end = load_u32(base + 4 * (r + 1));
    if (end < start || end > spec.nonzeros)
      return input_error("[csr] row " + std::to_string(r) + " ends at " + std::to_string(end) +
                         ": out of order, the file is damaged");
    std::int64_t previous = -1;
    for (std::uint32_t i = start; i < end; ++i) {
      const std::int64_t c = column_at(spec, base + l.columns, i);
      if (c <= previous || c >= cols)
        return input_error("[csr] row " + std::to_string(r) + " has column " + std::to_string(c) +
                           ": out of order or range, the file is damaged");
      previous = c;
    }
    start = end;
  }
  if (start != spec.nonzeros)
    return input_error("[csr] the last row ends at " + std::to_string(start) + " of " + std::to_string(spec.nonzeros) +
                       " values: the file is damaged");
  if (deep) {
    for (std::int64_t i = 0; i < spec.nonzeros; ++i)
      if ((load_u16(base + l.values + 2 * i) & 0x7C00u) == 0x7C00u)
        return input_error("[csr] value " + std::to_string(i) + " is not finite: the file is damaged");
  }
  return {};
}

void add_csr_row(const CsrSpec& spec, const CsrLayout& l, const std::byte* blob, std::int64_t row, float* out) {
  const std::uint32_t end = load_u32(blob + 4 * (row + 1));
  for (std::uint32_t i = load_u32(blob + 4 * row); i < end; ++i)
    out[column_at(spec, blob + l.columns, i)] +=
        f16_to_f32(load_u16(blob + l.values + 2 * static_cast<std::uint64_t>(i)));
}

}  // namespace sparing
