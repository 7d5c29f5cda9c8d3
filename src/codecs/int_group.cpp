#include "codecs/int_group.h"

#include <algorithm>
#include <cmath>

#include "codecs/planes.h"
#include "tensor/half.h"

namespace sparing {
namespace {

std::int64_t panel_of(std::int64_t row) {
  return row / kPanelRows;
}
int lane_of(std::int64_t row) {
  return static_cast<int>(row % kPanelRows);
}

Status expect_size(const char* what, std::size_t have, std::int64_t a, std::int64_t b) {
  if (have == static_cast<std::size_t>(a) * static_cast<std::size_t>(b)) return {};
  return internal_error(std::string("[pack int_group] ") + what + " has " + std::to_string(have) + " values, needs " +
                        std::to_string(a) + " x " + std::to_string(b));
}

Status expect_range(const char* what, const std::vector<std::uint8_t>& codes, int bits) {
  const auto bad = std::find_if(codes.begin(), codes.end(), [&](std::uint8_t c) { return (c >> bits) != 0; });
  if (bits >= 8 || bad == codes.end()) return {};
  return internal_error(std::string("[pack int_group] ") + what + " " + std::to_string(*bad) + " does not fit " +
                        std::to_string(bits) + " bits");
}

const std::byte* f16_at(const std::byte* section, std::int64_t panel, std::int64_t per_panel, std::int64_t index,
                        int lane) {
  return section + ((panel * per_panel + index) * kPanelRows + lane) * 2;
}

}  // namespace

Result<IntGroupWriter> IntGroupWriter::create(const IntGroupSpec& spec, std::int64_t rows, std::int64_t cols,
                                              Arena* arena) {
  IntGroupWriter w;
  SPARING_TRY(w.layout_, layout_of(spec, rows, cols));
  w.spec_ = spec;
  w.buffer_ = arena != nullptr ? arena->take(w.layout_.total) : Buffer(w.layout_.total);
  return w;
}

void IntGroupWriter::codes(std::int64_t row, std::int64_t col, const std::uint8_t* codes, std::int64_t count) {
  const Planes planes(spec_.bits);
  std::byte* panel = buffer_.data() + layout_.codes + panel_of(row) * layout_.blocks * layout_.block_bytes;
  for (std::int64_t i = 0; i < count; i += 4) {
    std::uint32_t quad = 0;
    std::memcpy(&quad, codes + i, static_cast<std::size_t>(std::min<std::int64_t>(4, count - i)));
    const std::int64_t at = col + i;
    or_quad(panel + at / kBlockInputs * layout_.block_bytes, planes, lane_of(row),
            static_cast<int>(at % kBlockInputs / 4), quad);
  }
}

void IntGroupWriter::block(std::int64_t panel, std::int64_t block, const std::uint8_t* codes, std::size_t stride) {
  store_block(buffer_.data() + layout_.codes + (panel * layout_.blocks + block) * layout_.block_bytes,
              Planes(spec_.bits), codes, stride);
}

void IntGroupWriter::scale_f16(std::int64_t row, std::int64_t group, std::uint16_t bits) {
  store_u16(
      buffer_.data() + layout_.scales + ((panel_of(row) * layout_.groups + group) * kPanelRows + lane_of(row)) * 2,
      bits);
}
void IntGroupWriter::scale_code(std::int64_t row, std::int64_t group, std::uint32_t code) {
  or_row_code(buffer_.data() + layout_.scales + (panel_of(row) * layout_.groups + group) * layout_.scale_group_bytes,
              Planes(spec_.groups.scale_bits), lane_of(row), code);
}
void IntGroupWriter::scale_super(std::int64_t row, std::int64_t super, std::uint16_t bits) {
  store_u16(buffer_.data() + layout_.scale_supers +
                ((panel_of(row) * layout_.supers + super) * kPanelRows + lane_of(row)) * 2,
            bits);
}
void IntGroupWriter::zero_code(std::int64_t row, std::int64_t group, std::uint32_t code) {
  or_row_code(buffer_.data() + layout_.zeros + (panel_of(row) * layout_.groups + group) * layout_.zero_group_bytes,
              Planes(spec_.zero_bits), lane_of(row), code);
}
void IntGroupWriter::zero_f16(std::int64_t row, std::int64_t group, std::uint16_t bits) {
  store_u16(buffer_.data() + layout_.zeros + ((panel_of(row) * layout_.groups + group) * kPanelRows + lane_of(row)) * 2,
            bits);
}
void IntGroupWriter::zero_super(std::int64_t row, std::int64_t super, std::uint16_t bits) {
  store_u16(
      buffer_.data() + layout_.zero_supers + ((panel_of(row) * layout_.supers + super) * kPanelRows + lane_of(row)) * 2,
      bits);
}

Result<Term> pack(const IntGroupSpec& spec, std::int64_t rows, std::int64_t cols, const IntGroupParts& parts) {
  SPARING_TRY(IntGroupWriter w, IntGroupWriter::create(spec, rows, cols));
  const IntGroupLayout& l = w.layout();
  const bool coded = spec.groups.scale == ScaleKind::coded;
  const bool zero_codes = spec.zero == ZeroKind::integer || spec.zero == ZeroKind::coded_min;
  SPARING_CHECK_OK(expect_size("codes", parts.codes.size(), rows, cols));
  SPARING_CHECK_OK(expect_range("code", parts.codes, spec.bits));
  SPARING_CHECK_OK(expect_size("scale_f16", parts.scale_f16.size(), rows, coded ? 0 : l.groups));
  SPARING_CHECK_OK(expect_size("scale_codes", parts.scale_codes.size(), rows, coded ? l.groups : 0));
  SPARING_CHECK_OK(expect_size("scale_super", parts.scale_super.size(), rows, coded ? l.supers : 0));
  SPARING_CHECK_OK(expect_range("scale code", parts.scale_codes, spec.groups.scale_bits));
  SPARING_CHECK_OK(expect_size("zero_codes", parts.zero_codes.size(), rows, zero_codes ? l.groups : 0));
  SPARING_CHECK_OK(expect_range("zero code", parts.zero_codes, spec.zero_bits));
  SPARING_CHECK_OK(expect_size("zero_f16", parts.zero_f16.size(), rows, spec.zero == ZeroKind::f16_min ? l.groups : 0));
  SPARING_CHECK_OK(
      expect_size("zero_super", parts.zero_super.size(), rows, spec.zero == ZeroKind::coded_min ? l.supers : 0));
  for (std::int64_t r = 0; r < rows; ++r) {
    w.codes(r, 0, parts.codes.data() + r * cols, cols);
    for (std::int64_t g = 0; g < l.groups; ++g) {
      const auto at = static_cast<std::size_t>(r * l.groups + g);
      if (coded) {
        w.scale_code(r, g, parts.scale_codes[at]);
      } else {
        w.scale_f16(r, g, parts.scale_f16[at]);
      }
      if (zero_codes) w.zero_code(r, g, parts.zero_codes[at]);
      if (spec.zero == ZeroKind::f16_min) w.zero_f16(r, g, parts.zero_f16[at]);
    }
    for (std::int64_t s = 0; s < l.supers; ++s) {
      const auto at = static_cast<std::size_t>(r * l.supers + s);
      if (coded) w.scale_super(r, s, parts.scale_super[at]);
      if (spec.zero == ZeroKind::coded_min) w.zero_super(r, s, parts.zero_super[at]);
    }
  }
  return Term{spec, std::move(w).finish()};
}

Result<Term> pack(const LutGroupSpec& spec, std::int64_t rows, std::int64_t cols, const IntGroupParts& parts) {
  SPARING_CHECK_OK(validate(CodecSpec(spec), rows, cols));
  SPARING_TRY(Term term, pack(as_int_group(spec), rows, cols, parts));
  return Term{spec, std::move(term.blob)};
}

Result<IntGroupParts> unpack(const Term& term, std::int64_t rows, std::int64_t cols) {
  const auto* lut = std::get_if<LutGroupSpec>(&term.spec);
  const auto* integer = std::get_if<IntGroupSpec>(&term.spec);
  if (lut == nullptr && integer == nullptr)
    return internal_error("[unpack] " + codec_name(term.spec) + ": only int_group and lut_group have codes");
  const IntGroupSpec spec = lut != nullptr ? as_int_group(*lut) : *integer;
  SPARING_TRY(const IntGroupLayout l, layout_of(spec, rows, cols));
  if (term.blob.bytes.size() != l.total)
    return input_error("[unpack] a blob of " + std::to_string(term.blob.bytes.size()) + " bytes: needs " +
                       std::to_string(l.total));
  const std::byte* blob = term.blob.bytes.data();
  IntGroupParts parts;
  parts.codes.resize(static_cast<std::size_t>(rows * cols));
  const bool coded = spec.groups.scale == ScaleKind::coded;
  const bool zero_codes = spec.zero == ZeroKind::integer || spec.zero == ZeroKind::coded_min;
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t p = panel_of(r);
    const int lane = lane_of(r);
    read_codes(spec, l, blob, cols, r, parts.codes.data() + r * cols);
    for (std::int64_t g = 0; g < l.groups; ++g) {
      if (coded) {
        parts.scale_codes.push_back(static_cast<std::uint8_t>(read_row_code(
            blob + l.scales + (p * l.groups + g) * l.scale_group_bytes, Planes(spec.groups.scale_bits), lane)));
      } else {
        parts.scale_f16.push_back(load_u16(f16_at(blob + l.scales, p, l.groups, g, lane)));
      }
      if (zero_codes)
        parts.zero_codes.push_back(static_cast<std::uint8_t>(
            read_row_code(blob + l.zeros + (p * l.groups + g) * l.zero_group_bytes, Planes(spec.zero_bits), lane)));
      if (spec.zero == ZeroKind::f16_min)
        parts.zero_f16.push_back(load_u16(f16_at(blob + l.zeros, p, l.groups, g, lane)));
    }
    for (std::int64_t s = 0; s < l.supers; ++s) {
      if (coded) parts.scale_super.push_back(load_u16(f16_at(blob + l.scale_supers, p, l.supers, s, lane)));
      if (spec.zero == ZeroKind::coded_min)
        parts.zero_super.push_back(load_u16(f16_at(blob + l.zero_supers, p, l.supers, s, lane)));
    }
  }
  return parts;
}

GroupValues group_values(const IntGroupSpec& spec, const IntGroupLayout& l, const std::byte* blob, std::int64_t row,
                         std::int64_t group) {
  const std::int64_t p = panel_of(row);
  const int lane = lane_of(row);
  GroupValues v;
  if (spec.groups.scale == ScaleKind::f16) {
    v.scale = f16_to_f32(load_u16(f16_at(blob + l.scales, p, l.groups, group, lane)));
  } else {
    const auto code = static_cast<std::int32_t>(read_row_code(
        blob + l.scales + (p * l.groups + group) * l.scale_group_bytes, Planes(spec.groups.scale_bits), lane));
    const float d = f16_to_f32(load_u16(f16_at(blob + l.scale_supers, p, l.supers, group / spec.groups.super, lane)));
    v.scale = d * static_cast<float>(code - spec.groups.scale_offset);
  }
  if (spec.zero == ZeroKind::constant) v.zero = spec.zero_offset;
  if (spec.zero == ZeroKind::f16_min)
    v.minimum = f16_to_f32(load_u16(f16_at(blob + l.zeros, p, l.groups, group, lane)));
  if (spec.zero == ZeroKind::integer || spec.zero == ZeroKind::coded_min) {
    const auto code = static_cast<std::int32_t>(
        read_row_code(blob + l.zeros + (p * l.groups + group) * l.zero_group_bytes, Planes(spec.zero_bits), lane));
    if (spec.zero == ZeroKind::integer) {
      v.zero = code;
    } else {
      const float dm = f16_to_f32(load_u16(f16_at(blob + l.zero_supers, p, l.supers, group / spec.groups.super, lane)));
      v.minimum = -(dm * static_cast<float>(code));
    }
  }
  return v;
}

namespace {

/// Walks a row group by group: f(code, out) maps a code, its group's values in hand.
template <class Value>
void decode_row(const IntGroupSpec& spec, const IntGroupLayout& l, const std::byte* blob, std::int64_t cols,
                std::int64_t row, float* out, Value&& value) {
  const Planes planes(spec.bits);
  const std::byte* panel = blob + l.codes + panel_of(row) * l.blocks * l.block_bytes;
  const int lane = lane_of(row);
  std::int64_t group = -1, group_end = 0;
  GroupValues v;
  for (std::int64_t b = 0; b * kBlockInputs < cols; ++b) {
    std::uint8_t codes[kBlockInputs];
    for (int q = 0; q < kBlockInputs / 4; ++q) {
      const std::uint32_t quad = read_quad(panel + b * l.block_bytes, planes, lane, q);
      std::memcpy(codes + 4 * q, &quad, 4);
    }
    const std::int64_t start = b * kBlockInputs, end = std::min<std::int64_t>(cols, start + kBlockInputs);
    for (std::int64_t c = start; c < end;) {
      if (c == group_end) {
        v = group_values(spec, l, blob, row, ++group);
        group_end = group + 1 == l.groups ? cols : (group + 1) * spec.groups.group;
      }
      const std::int64_t stop = std::min(end, group_end);
      for (; c < stop; ++c) out[c] = value(codes[c - start], v);
    }
  }
}

}  // namespace

void decode_int_group_row(const IntGroupSpec& spec, const IntGroupLayout& layout, const std::byte* blob,
                          std::int64_t cols, std::int64_t row, float* out) {
  if (spec.zero == ZeroKind::constant || spec.zero == ZeroKind::integer) {
    decode_row(spec, layout, blob, cols, row, out, [](std::uint8_t code, const GroupValues& v) {
      return v.scale * static_cast<float>(static_cast<std::int32_t>(code) - v.zero);
    });
  } else {
    decode_row(spec, layout, blob, cols, row, out,
               [](std::uint8_t code, const GroupValues& v) { return v.scale * static_cast<float>(code) + v.minimum; });
  }
}

void decode_lut_group_row(const LutGroupSpec& spec, const IntGroupLayout& layout, const std::byte* blob,
                          std::int64_t cols, std::int64_t row, float* out) {
  const float* table = spec.table.data();
  decode_row(as_int_group(spec), layout, blob, cols, row, out,
             [table](std::uint8_t code, const GroupValues& v) { return v.scale * table[code]; });
}

void read_codes(const IntGroupSpec& spec, const IntGroupLayout& l, const std::byte* blob, std::int64_t cols,
                std::int64_t row, std::uint8_t* out) {
  const Planes planes(spec.bits);
  const std::byte* panel = blob + l.codes + panel_of(row) * l.blocks * l.block_bytes;
  for (std::int64_t c = 0; c < cols; c += 4) {
    const std::uint32_t quad = read_quad(panel + c / kBlockInputs * l.block_bytes, planes, lane_of(row),
                                         static_cast<int>(c % kBlockInputs / 4));
    std::memcpy(out + c, &quad, static_cast<std::size_t>(std::min<std::int64_t>(4, cols - c)));
  }
}

void read_scale_codes(const IntGroupSpec& spec, const IntGroupLayout& l, const std::byte* blob, std::int64_t row,
                      std::int64_t group, std::int64_t count, std::uint8_t* scales, std::uint8_t* minima) {
  const std::int64_t first = panel_of(row) * l.groups + group;
  for (std::int64_t g = 0; g < count; ++g) {
    scales[g] = static_cast<std::uint8_t>(read_row_code(blob + l.scales + (first + g) * l.scale_group_bytes,
                                                        Planes(spec.groups.scale_bits), lane_of(row)));
    if (spec.zero == ZeroKind::coded_min) {
      minima[g] = static_cast<std::uint8_t>(
          read_row_code(blob + l.zeros + (first + g) * l.zero_group_bytes, Planes(spec.zero_bits), lane_of(row)));
    }
  }
}

std::uint16_t super_bits(const IntGroupLayout& l, const std::byte* blob, std::uint64_t section, std::int64_t row,
                         std::int64_t super) {
  return load_u16(f16_at(blob + section, panel_of(row), l.supers, super, lane_of(row)));
}

Status validate_scales(const IntGroupSpec& spec, const IntGroupLayout& l, Bytes blob) {
  const auto finite = [&](std::uint64_t from, std::int64_t per_panel, const char* what) -> Status {
    const auto count = static_cast<std::uint64_t>(l.panels * per_panel * kPanelRows);
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint16_t bits = load_u16(blob.data() + from + 2 * i);
      if ((bits & 0x7C00u) == 0x7C00u)
        return input_error(std::string("[int_group] a ") + what + " is not finite: the file is damaged");
    }
    return {};
  };
  if (spec.groups.scale == ScaleKind::f16) {
    SPARING_CHECK_OK(finite(l.scales, l.groups, "scale"));
  } else {
    SPARING_CHECK_OK(finite(l.scale_supers, l.supers, "super-scale"));
  }
  if (spec.zero == ZeroKind::f16_min) SPARING_CHECK_OK(finite(l.zeros, l.groups, "minimum"));
  if (spec.zero == ZeroKind::coded_min) SPARING_CHECK_OK(finite(l.zero_supers, l.supers, "super-minimum"));
  return {};
}

}  // namespace sparing
