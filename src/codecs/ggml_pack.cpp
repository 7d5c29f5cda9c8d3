#include "codecs/ggml_pack.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "codecs/ggml_blocks.h"
#include "codecs/int_group.h"
#include "tensor/half.h"

namespace sparing {
namespace {

constexpr std::int64_t kBlock = 32;

/// The only term of an untransformed weight, if that is all there is.
const Term* only_term(const CodedWeight& weight) {
  return weight.terms.size() == 1 && weight.input.kind == TransformKind::identity ? &weight.terms.front() : nullptr;
}

/// The int_group that lays a term's codes out; null for a dense or sparse term.
std::optional<IntGroupSpec> groups_of(const CodecSpec& spec) {
  if (const auto* integer = std::get_if<IntGroupSpec>(&spec)) return *integer;
  if (const auto* lut = std::get_if<LutGroupSpec>(&spec)) return as_int_group(*lut);
  return std::nullopt;
}

struct Range {
  std::int32_t low = 0, high = 0;
  void add(std::int32_t v) { low = std::min(low, v), high = std::max(high, v); }
};

/// The whole number that a code stands for, its scale apart: q - z, or the table's entry.
std::int32_t level(std::uint8_t code, const GroupValues& v, const LutGroupSpec* lut) {
  return lut == nullptr ? code - v.zero : static_cast<std::int32_t>(lut->table[code]);
}

Range levels_of(const CodedWeight& weight, const IntGroupSpec& spec, const LutGroupSpec* lut) {
  const Term& term = weight.terms.front();
  const IntGroupLayout l = *layout_of(spec, weight.rows, weight.cols);
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(weight.cols));
  Range range;
  for (std::int64_t r = 0; r < weight.rows; ++r) {
    read_codes(spec, l, term.blob.bytes.data(), weight.cols, r, codes.data());
    for (std::int64_t g = 0; g < l.groups; ++g) {
      const std::int64_t end = g + 1 == l.groups ? weight.cols : (g + 1) * spec.groups.group;
      const auto [low, high] = std::minmax_element(codes.begin() + g * spec.groups.group, codes.begin() + end);
      if (lut == nullptr) {
        const GroupValues v = group_values(spec, l, term.blob.bytes.data(), r, g);
        range.add(*low - v.zero);
        range.add(*high - v.zero);
      } else {
        for (std::int64_t c = g * spec.groups.group; c < end; ++c) {
          range.add(static_cast<std::int32_t>(lut->table[codes[static_cast<std::size_t>(c)]]));
        }
      }
    }
  }
  return range;
}

std::optional<GgmlType> type_for(const Range& range) {
  if (range.low >= -8 && range.high <= 7) return GgmlType::q4_0;
  if (range.low >= -16 && range.high <= 15) return GgmlType::q5_0;
  if (range.low >= -128 && range.high <= 127) return GgmlType::q8_0;
  return std::nullopt;
}

bool is_whole(const std::vector<float>& table) {
  return std::all_of(table.begin(), table.end(), [](float v) { return std::abs(v) <= 128 && v == std::nearbyint(v); });
}

/// The middle code of a type whose blocks hold d * (q - middle).
std::int32_t middle(GgmlType type) {
  return type == GgmlType::q4_0 ? 8 : type == GgmlType::q5_0 ? 16 : 128;
}

}  // namespace

std::optional<GgmlType> ggml_holding_type(const CodedWeight& weight) {
  const Term* term = only_term(weight);
  if (term == nullptr) return std::nullopt;
  if (auto own = ggml_exact_type(term->spec, weight.cols)) return own;
  const auto spec = groups_of(term->spec);
  if (!spec || weight.cols % kBlock != 0 || spec->groups.scale != ScaleKind::f16) return std::nullopt;
  if (spec->groups.group < weight.cols && spec->groups.group % kBlock != 0) return std::nullopt;
  const auto* lut = std::get_if<LutGroupSpec>(&term->spec);
  if (lut != nullptr) {
    if (const auto iq4 = ggml_codec(GgmlType::iq4_nl); lut->table == std::get<LutGroupSpec>(iq4).table) {
      return GgmlType::iq4_nl;
    }
    if (!is_whole(lut->table)) return std::nullopt;
  } else if (spec->zero == ZeroKind::f16_min) {
    if (spec->bits > 5) return std::nullopt;
    return spec->bits == 5 ? GgmlType::q5_1 : GgmlType::q4_1;
  } else if (spec->zero == ZeroKind::coded_min) {
    return std::nullopt;
  }
  return type_for(levels_of(weight, *spec, lut));
}

void ggml_pack_row(GgmlType type, const CodedWeight& weight, std::int64_t row, std::byte* out) {
  const Term& term = weight.terms.front();
  const GgmlTraits& traits = *ggml_traits(static_cast<std::uint32_t>(type));
  if (const auto* dense = std::get_if<DenseSpec>(&term.spec)) {
    const std::size_t bytes = static_cast<std::size_t>(weight.cols) * size_of(dense->dtype);
    std::memcpy(out, term.blob.bytes.data() + static_cast<std::size_t>(row) * bytes, bytes);
    return;
  }
  const IntGroupSpec spec = *groups_of(term.spec);
  const IntGroupLayout l = *layout_of(spec, weight.rows, weight.cols);
  const auto* lut = std::get_if<LutGroupSpec>(&term.spec);
  const std::byte* blob = term.blob.bytes.data();
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(weight.cols));
  read_codes(spec, l, blob, weight.cols, row, codes.data());

  const bool shifted = type == GgmlType::q4_0 || type == GgmlType::q5_0 || type == GgmlType::q8_0;
  GgmlBlock b;
  for (std::int64_t at = 0; at < weight.cols; at += traits.block_weights, out += traits.block_bytes) {
    if (spec.groups.scale == ScaleKind::coded) {
      const std::int64_t per_block = traits.block_weights / spec.groups.group, first = at / spec.groups.group;
      read_scale_codes(spec, l, blob, row, first, per_block, b.scale_codes, b.min_codes);
      b.d = super_bits(l, blob, l.scale_supers, row, at / traits.block_weights);
      b.min = spec.zero == ZeroKind::coded_min ? super_bits(l, blob, l.zero_supers, row, at / traits.block_weights)
                                               : std::uint16_t{0};
    }
    const std::uint8_t* from = codes.data() + at;
    if (spec.groups.scale == ScaleKind::coded) {
      std::copy_n(from, traits.block_weights, b.codes);
    } else {
      const GroupValues v = group_values(spec, l, blob, row, std::min(at / spec.groups.group, l.groups - 1));
      // Both came from f16.
      b.d = f32_to_f16(v.scale);
      b.min = f32_to_f16(v.minimum);
      for (std::int32_t i = 0; i < traits.block_weights; ++i) {
        b.codes[i] = shifted ? static_cast<std::uint8_t>(level(from[i], v, lut) + middle(type)) : from[i];
      }
    }
    write_ggml_block(type, b, out);
  }
}

}  // namespace sparing
