#include "base/checked.h"
#include "codecs/int_group.h"
#include "codecs/sections.h"
#include "codecs/vq_additive.h"

namespace sparing {
namespace {

std::int64_t ceil_of(std::int64_t a, std::int64_t b) {
  return static_cast<std::int64_t>(ceil_div(static_cast<std::uint64_t>(a), static_cast<std::uint64_t>(b)));
}

/// panels <= 2^58 and the others as well: only their products can overflow, which Sections sees.
std::uint64_t add_per_panel(Sections& s, const IntGroupLayout& l, std::int64_t per_panel, std::uint64_t bytes) {
  const auto count = checked_mul(static_cast<std::uint64_t>(l.panels), static_cast<std::uint64_t>(per_panel));
  return s.add(count.value_or(~0ull), bytes);
}

IntGroupLayout counts_of(const GroupSpec& groups, std::int64_t rows, std::int64_t cols) {
  IntGroupLayout l{};
  l.panels = ceil_of(rows, kPanelRows);
  l.blocks = ceil_of(cols, kBlockInputs);
  l.groups = ceil_of(cols, groups.group);
  l.supers = groups.super > 0 ? ceil_of(l.groups, groups.super) : 0;
  return l;
}

void add_scales(Sections& s, const GroupSpec& groups, IntGroupLayout& l) {
  l.scale_group_bytes = groups.scale == ScaleKind::f16 ? 32 : 2 * groups.scale_bits;
  l.scales = add_per_panel(s, l, l.groups, static_cast<std::uint64_t>(l.scale_group_bytes));
  l.scale_supers = s.end();
  if (groups.scale == ScaleKind::coded) add_per_panel(s, l, l.supers, 32);
}

Error overflows(const char* codec, std::int64_t rows, std::int64_t cols) {
  return input_error(std::string("[") + codec + "] a matrix of " + std::to_string(rows) + " x " + std::to_string(cols) +
                     ": its size overflows; the file is broken");
}

}  // namespace

IntGroupSpec as_int_group(const LutGroupSpec& spec) {
  return {.bits = spec.bits, .groups = spec.groups, .zero = ZeroKind::constant, .zero_bits = 0, .zero_offset = 0};
}

Result<IntGroupLayout> layout_of(const IntGroupSpec& spec, std::int64_t rows, std::int64_t cols) {
  SPARING_CHECK_OK(validate(CodecSpec(spec), rows, cols));
  IntGroupLayout l = counts_of(spec.groups, rows, cols);
  l.block_bytes = 64 * spec.bits;
  Sections s;
  l.codes = add_per_panel(s, l, l.blocks, static_cast<std::uint64_t>(l.block_bytes));
  add_scales(s, spec.groups, l);
  l.zeros = s.end();
  if (spec.zero == ZeroKind::f16_min) l.zero_group_bytes = 32;
  if (spec.zero == ZeroKind::integer || spec.zero == ZeroKind::coded_min) l.zero_group_bytes = 2 * spec.zero_bits;
  if (l.zero_group_bytes > 0) add_per_panel(s, l, l.groups, static_cast<std::uint64_t>(l.zero_group_bytes));
  l.zero_supers = s.end();
  if (spec.zero == ZeroKind::coded_min) add_per_panel(s, l, l.supers, 32);
  l.total = s.end();
  if (s.overflow()) return overflows("int_group", rows, cols);
  return l;
}

Result<IntGroupLayout> layout_of(const LutGroupSpec& spec, std::int64_t rows, std::int64_t cols) {
  SPARING_CHECK_OK(validate(CodecSpec(spec), rows, cols));
  return layout_of(as_int_group(spec), rows, cols);
}

Result<VqLayout> layout_of(const VqAdditiveSpec& spec, std::int64_t rows, std::int64_t cols) {
  SPARING_CHECK_OK(validate(CodecSpec(spec), rows, cols));
  VqLayout l{};
  l.groups = counts_of(spec.groups, rows, cols);
  l.vectors = ceil_of(cols, spec.vector);
  // Vectors of 1 fill blocks of 32 inputs, as in int_group: kernels read them in place.
  l.quads = spec.vector == 1 ? l.groups.blocks * 8 : ceil_of(l.vectors, 4) * spec.books;
  l.panel_bytes = CodeQuads(spec.bits, l.quads).bytes();
  if (spec.vector == 1) l.groups.block_bytes = 64 * spec.bits;
  Sections s;
  l.groups.codes = s.add(static_cast<std::uint64_t>(l.groups.panels), static_cast<std::uint64_t>(l.panel_bytes));
  add_scales(s, spec.groups, l.groups);
  l.groups.zeros = l.groups.zero_supers = s.end();
  l.books = s.add(std::uint64_t{1} << spec.bits, static_cast<std::uint64_t>(spec.books * spec.vector));
  l.total = l.groups.total = s.end();
  if (s.overflow()) return overflows("vq_additive", rows, cols);
  return l;
}

}  // namespace sparing
