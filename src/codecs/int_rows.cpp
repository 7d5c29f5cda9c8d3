#include "codecs/int_rows.h"

#include <algorithm>
#include <cstring>

#include "codecs/planes.h"
#include "codecs/sections.h"

namespace sparing {

Result<IntRowsLayout> layout_of(const IntRowsSpec& spec, std::int64_t rows, std::int64_t cols) {
  SPARING_CHECK_OK(validate(CodecSpec(spec), rows, cols));
  IntRowsLayout l;
  SPARING_TRY(l.of_codes, layout_of(spec.codes, spec.count, cols));
  Sections sections;
  l.index = sections.add(static_cast<std::uint64_t>(spec.count), 4);
  l.codes = sections.add(l.of_codes.total, 1);
  l.total = sections.end();
  if (sections.overflow())
    return input_error("[int_rows] " + std::to_string(spec.count) + " rows of " + std::to_string(cols) +
                       ": their size overflows; the file is broken");
  return l;
}

Result<Term> pack_int_rows(const IntGroupSpec& codes, std::int64_t rows, std::int64_t cols,
                           const std::vector<std::uint32_t>& index, const IntGroupParts& parts) {
  const IntRowsSpec spec{.count = static_cast<std::int64_t>(index.size()), .codes = codes};
  SPARING_TRY(const IntRowsLayout l, layout_of(spec, rows, cols));
  SPARING_TRY(const Term packed, pack(codes, spec.count, cols, parts));
  Buffer buffer(l.total);
  std::memcpy(buffer.data() + l.index, index.data(), index.size() * 4);
  std::ranges::copy(packed.blob.bytes, buffer.data() + l.codes);
  SPARING_CHECK_OK(validate_int_rows(spec, rows, cols, {buffer.data(), buffer.size()}, false));
  return Term{spec, Blob::of(std::move(buffer))};
}

std::uint32_t coded_row(const std::byte* blob, std::int64_t i) {
  return load_u32(blob + 4 * i);
}

Status validate_int_rows(const IntRowsSpec& spec, std::int64_t rows, std::int64_t cols, Bytes blob, bool deep) {
  SPARING_TRY(const IntRowsLayout l, layout_of(spec, rows, cols));
  std::int64_t before = -1;
  for (std::int64_t i = 0; i < spec.count; ++i) {
    const std::uint32_t row = coded_row(blob.data(), i);
    if (row <= before || row >= rows)
      return input_error("[int_rows] row " + std::to_string(row) + " of " + std::to_string(rows) +
                         ": out of order or range, the file is damaged");
    before = row;
  }
  return deep ? validate_scales(spec.codes, l.of_codes, blob.subspan(l.codes)) : Status();
}

void add_int_rows(const IntRowsSpec& spec, std::int64_t rows, std::int64_t cols, const std::byte* blob,
                  std::int64_t row, std::int64_t count, float* out) {
  const IntRowsLayout l = *layout_of(spec, rows, cols);
  std::int64_t first = 0, behind = spec.count;  // of those from `row` on
  while (first < behind) {
    const std::int64_t middle = (first + behind) / 2;
    (coded_row(blob, middle) < row ? first : behind) = coded_row(blob, middle) < row ? middle + 1 : middle;
  }
  std::vector<float> values(static_cast<std::size_t>(cols));
  for (std::int64_t i = first; i < spec.count && coded_row(blob, i) < row + count; ++i) {
    decode_int_group_row(spec.codes, l.of_codes, blob + l.codes, cols, i, values.data());
    float* const to = out + (coded_row(blob, i) - row) * cols;
    for (std::int64_t c = 0; c < cols; ++c) to[c] += values[static_cast<std::size_t>(c)];
  }
}

}  // namespace sparing
