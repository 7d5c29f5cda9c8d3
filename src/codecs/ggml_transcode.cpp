#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "codecs/ggml.h"
#include "codecs/ggml_blocks.h"

namespace sparing {
namespace {

constexpr std::uint64_t kForgetBytes = 1u << 20;

bool finite_f16(std::uint16_t bits) {
  return (bits & 0x7C00u) != 0x7C00u;
}

Result<Blob> reorder_rows(const Blob& blocks, std::int64_t rows, std::uint64_t row_bytes,
                          const std::vector<std::int32_t>& order, Arena* arena) {
  const std::uint64_t size = static_cast<std::uint64_t>(rows) * row_bytes;
  Buffer buffer = arena != nullptr ? arena->take(size) : Buffer(size);
  for (std::int64_t r = 0; r < rows; ++r)
    std::memcpy(buffer.data() + static_cast<std::uint64_t>(r) * row_bytes,
                blocks.bytes.data() + static_cast<std::uint64_t>(order[static_cast<std::size_t>(r)]) * row_bytes,
                row_bytes);
  blocks.forget(blocks.bytes);
  return Blob::of(std::move(buffer));
}

}  // namespace

Result<Term> ggml_transcode(GgmlType type, std::int64_t rows, std::int64_t cols, Blob blocks,
                            const std::vector<std::int32_t>* row_order, Arena* arena) {
  const GgmlTraits* traits = ggml_traits(static_cast<std::uint32_t>(type));
  if (traits == nullptr)
    return input_error("[transcode] ggml " + ggml_type_name(static_cast<std::uint32_t>(type)) +
                       ": Sparing does not read this type");
  const std::string what =
      "[transcode] " + std::string(traits->name) + " of " + std::to_string(rows) + " x " + std::to_string(cols);
  CodecSpec codec = ggml_codec(type);
  SPARING_CHECK_OK(validate(codec, rows, cols));
  if (cols % traits->block_weights != 0)
    return input_error(what + ": the width must be a multiple of " + std::to_string(traits->block_weights));
  const auto row_bytes = static_cast<std::uint64_t>(cols / traits->block_weights * traits->block_bytes);
  const auto needed = checked_mul(static_cast<std::uint64_t>(rows), row_bytes);
  if (!needed || blocks.bytes.size() != *needed)
    return input_error(what + ": has " + std::to_string(blocks.bytes.size()) + " bytes, needs " +
                       std::to_string(needed.value_or(0)));
  if (row_order != nullptr) {
    if (row_order->size() != static_cast<std::size_t>(rows))
      return internal_error(what + ": a row order of " + std::to_string(row_order->size()));
    for (const std::int32_t r : *row_order)
      if (r < 0 || r >= rows) return internal_error(what + ": row order names row " + std::to_string(r));
  }
  if (std::holds_alternative<DenseSpec>(codec)) {
    if (row_order != nullptr) {
      SPARING_TRY(blocks, reorder_rows(blocks, rows, row_bytes, *row_order, arena));
    }
    return Term{codec, std::move(blocks)};
  }

  const auto* lut = std::get_if<LutGroupSpec>(&codec);
  const IntGroupSpec spec = lut != nullptr ? as_int_group(*lut) : std::get<IntGroupSpec>(codec);
  SPARING_TRY(IntGroupWriter writer, IntGroupWriter::create(spec, rows, cols, arena));
  const std::int64_t per_row = cols / traits->block_weights, groups = traits->block_weights / spec.groups.group;
  const bool coded = spec.groups.scale == ScaleKind::coded;
  const auto source_row = [&](std::int64_t row) {
    return row_order != nullptr ? (*row_order)[static_cast<std::size_t>(row)] : row;
  };
  const auto row_at = [&](std::int64_t row) {
    return blocks.bytes.data() + static_cast<std::uint64_t>(source_row(row)) * row_bytes;
  };
  GgmlBlock panel[kPanelRows] = {};
  std::uint64_t kept = 0;  // of the source, before which pages have been let go
  for (std::int64_t first = 0; first < rows; first += kPanelRows) {
    if (const std::uint64_t read = static_cast<std::uint64_t>(first) * row_bytes;
        row_order == nullptr && read - kept >= kForgetBytes) {
      // Faults map neighbours too: some of the pages before may have come back.
      const std::uint64_t from = kept - std::min(kept, kForgetBytes);
      blocks.forget(blocks.bytes.subspan(from, read - from));
      kept = read;
    }
    const std::byte *from[kPanelRows], *next[kPanelRows];
    const auto count = static_cast<int>(std::min<std::int64_t>(kPanelRows, rows - first));
    for (int r = 0; r < count; ++r) {
      from[r] = row_at(first + r);
      next[r] = row_at(std::min(first + kPanelRows + r, rows - 1));
    }
    for (int r = count; r < kPanelRows; ++r) panel[r] = {};
    for (std::int64_t i = 0; i < per_row; ++i) {
      for (int r = 0; r < count; ++r) {
        GgmlBlock& b = panel[r];
        const std::int64_t row = first + r;
        // Sixteen rows at once are more than the processor follows by itself.
        for (std::int64_t line = 0; line < traits->block_bytes; line += 64)
          __builtin_prefetch(next[r] + i * traits->block_bytes + line);
        read_ggml_block(type, from[r] + i * traits->block_bytes, b);
        if (!finite_f16(b.d) || !finite_f16(b.min))
          return input_error(what + ": the scale of block " + std::to_string(i) + " in row " +
                             std::to_string(source_row(row)) + " is not finite; the file is damaged");
        if (coded) writer.scale_super(row, i, b.d);
        if (spec.zero == ZeroKind::coded_min) writer.zero_super(row, i, b.min);
        for (std::int64_t g = 0; g < groups; ++g) {
          const std::int64_t group = i * groups + g;
          if (coded) {
            writer.scale_code(row, group, b.scale_codes[g]);
          } else {
            writer.scale_f16(row, group, b.d);
          }
          if (spec.zero == ZeroKind::coded_min) writer.zero_code(row, group, b.min_codes[g]);
          if (spec.zero == ZeroKind::f16_min) writer.zero_f16(row, group, b.min);
        }
      }
      const std::int64_t inputs = traits->block_weights / kBlockInputs;
      for (std::int64_t k = 0; k < inputs; ++k)
        writer.block(first / kPanelRows, i * inputs + k, panel[0].codes + k * kBlockInputs, sizeof(GgmlBlock));
    }
  }
  blocks.forget(blocks.bytes);
  return Term{std::move(codec), std::move(writer).finish()};
}

}  // namespace sparing
