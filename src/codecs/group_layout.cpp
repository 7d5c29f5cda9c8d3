#include "base/checked.h"
#include "codecs/int_group.h"
#include "codecs/sections.h"

namespace sparing {
IntGroupSpec as_int_group(const LutGroupSpec& spec) {
  return {.bits = spec.bits, .groups = spec.groups, .zero = ZeroKind::constant, .zero_bits = 0, .zero_offset = 0};
}

Result<IntGroupLayout> layout_of(const IntGroupSpec& spec, std::int64_t rows, std::int64_t cols) {
  SPARING_CHECK_OK(validate(CodecSpec(spec), rows, cols));
  const auto ceil = [](std::int64_t a, std::int64_t b) {
    return static_cast<std::int64_t>(ceil_div(static_cast<std::uint64_t>(a), static_cast<std::uint64_t>(b)));
  };
  IntGroupLayout l{};
  l.panels = ceil(rows, kPanelRows);
  l.blocks = ceil(cols, kBlockInputs);
  l.groups = ceil(cols, spec.groups.group);
  l.supers = spec.groups.super > 0 ? ceil(l.groups, spec.groups.super) : 0;
  l.block_bytes = 64 * spec.bits;
  const auto panels = static_cast<std::uint64_t>(l.panels);
  // panels <= 2^58 and the others as well: only their products can overflow, which Sections sees.
  const auto product = [&](std::int64_t per_panel, Sections& s, std::uint64_t bytes) {
    const auto count = checked_mul(panels, static_cast<std::uint64_t>(per_panel));
    return s.add(count.value_or(~0ull), bytes);
  };
  Sections s;
  l.codes = product(l.blocks, s, static_cast<std::uint64_t>(l.block_bytes));
  l.scale_group_bytes = spec.groups.scale == ScaleKind::f16 ? 32 : 2 * spec.groups.scale_bits;
  l.scales = product(l.groups, s, static_cast<std::uint64_t>(l.scale_group_bytes));
  l.scale_supers = s.end();
  if (spec.groups.scale == ScaleKind::coded) product(l.supers, s, 32);
  l.zeros = s.end();
  if (spec.zero == ZeroKind::f16_min) l.zero_group_bytes = 32;
  if (spec.zero == ZeroKind::integer || spec.zero == ZeroKind::coded_min) l.zero_group_bytes = 2 * spec.zero_bits;
  if (l.zero_group_bytes > 0) product(l.groups, s, static_cast<std::uint64_t>(l.zero_group_bytes));
  l.zero_supers = s.end();
  if (spec.zero == ZeroKind::coded_min) product(l.supers, s, 32);
  l.total = s.end();
  if (s.overflow())
    return input_error("[int_group] a matrix of " + std::to_string(rows) + " x " + std::to_string(cols) +
                       ": its size overflows; the file is broken");
  return l;
}

Result<IntGroupLayout> layout_of(const LutGroupSpec& spec, std::int64_t rows, std::int64_t cols) {
  SPARING_CHECK_OK(validate(CodecSpec(spec), rows, cols));
  return layout_of(as_int_group(spec), rows, cols);
}

}  // namespace sparing
