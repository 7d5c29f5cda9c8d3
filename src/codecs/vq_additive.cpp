#include "codecs/vq_additive.h"

#include <algorithm>

#include "tensor/half.h"

namespace sparing {
namespace {

std::size_t entries_of(const VqAdditiveSpec& s) {
  return std::size_t{1} << s.bits;
}

Status expect(const char* what, std::size_t have, std::int64_t want) {
  if (have == static_cast<std::size_t>(want)) return {};
  return internal_error(std::string("[pack vq_additive] ") + what + " has " + std::to_string(have) + " values, needs " +
                        std::to_string(want));
}

/// Place of a vector's code: its quad and the byte's index among 4.
struct Place {
  std::int64_t quad;
  int lane;
};
Place place_of(const VqAdditiveSpec& s, std::int64_t vector, std::int64_t book) {
  return {vector / 4 * s.books + book, static_cast<int>(vector % 4)};
}

Status check_books(const VqAdditiveSpec& s, const std::int8_t* books) {
  if (s.books == 1) return {};
  const std::size_t width = static_cast<std::size_t>(s.vector), size = entries_of(s) * width;
  for (std::size_t j = 0; j < width; ++j) {
    int low = 0, high = 0;
    for (int b = 0; b < s.books; ++b) {
      int least = 127, most = -128;
      for (std::size_t e = 0; e < entries_of(s); ++e) {
        const int v = books[static_cast<std::size_t>(b) * size + e * width + j];
        least = std::min(least, v);
        most = std::max(most, v);
      }
      low += least;
      high += most;
    }
    if (low < -128 || high > 127)
      return input_error("[vq_additive] books: sums at place " + std::to_string(j) + " span " + std::to_string(low) +
                         " to " + std::to_string(high) + ", beyond a byte: the file is damaged");
  }
  return {};
}

}  // namespace

IntGroupSpec as_int_group(const VqAdditiveSpec& spec) {
  return {.bits = 8, .groups = spec.groups, .zero = ZeroKind::constant, .zero_bits = 0, .zero_offset = 0};
}

CodeQuads code_quads(const VqAdditiveSpec& spec, const VqLayout& layout) {
  return {spec.bits, layout.quads};
}

Result<Term> pack(const VqAdditiveSpec& spec, std::int64_t rows, std::int64_t cols, const VqParts& parts) {
  SPARING_TRY(const VqLayout l, layout_of(spec, rows, cols));
  const IntGroupLayout& g = l.groups;
  const bool coded = spec.groups.scale == ScaleKind::coded;
  const auto book_values = static_cast<std::int64_t>(entries_of(spec)) * spec.books * spec.vector;
  SPARING_CHECK_OK(expect("codes", parts.codes.size(), rows * l.vectors * spec.books));
  SPARING_CHECK_OK(expect("books", parts.books.size(), book_values));
  SPARING_CHECK_OK(expect("scale_f16", parts.scale_f16.size(), coded ? 0 : rows * g.groups));
  SPARING_CHECK_OK(expect("scale_codes", parts.scale_codes.size(), coded ? rows * g.groups : 0));
  SPARING_CHECK_OK(expect("scale_super", parts.scale_super.size(), coded ? rows * g.supers : 0));
  for (const std::uint8_t code : parts.codes)
    if ((code >> spec.bits) != 0)
      return internal_error("[pack vq_additive] code " + std::to_string(code) + " does not fit " +
                            std::to_string(spec.bits) + " bits");
  for (const std::uint8_t code : parts.scale_codes)
    if ((code >> spec.groups.scale_bits) != 0)
      return internal_error("[pack vq_additive] scale code " + std::to_string(code) + " does not fit " +
                            std::to_string(spec.groups.scale_bits) + " bits");
  SPARING_CHECK_OK(check_books(spec, parts.books.data()));
  Buffer buffer(l.total);
  std::byte* const blob = buffer.data();
  const CodeQuads quads = code_quads(spec, l);
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t panel = r / kPanelRows;
    const int lane = static_cast<int>(r % kPanelRows);
    std::byte* const codes = blob + g.codes + panel * l.panel_bytes;
    for (std::int64_t v = 0; v < l.vectors; ++v)
      for (std::int64_t b = 0; b < spec.books; ++b) {
        const std::uint8_t code = parts.codes[static_cast<std::size_t>((r * l.vectors + v) * spec.books + b)];
        const Place place = place_of(spec, v, b);
        quads.for_planes(place.quad, [&](std::int64_t at, int shift, int i) {
          const int part = (code >> quads.planes.low[i]) & ((1 << quads.planes.width[i]) - 1);
          codes[at + 4 * lane + place.lane] |= static_cast<std::byte>(part << shift);
        });
      }
    for (std::int64_t i = 0; i < g.groups; ++i) {
      const auto at = static_cast<std::size_t>(r * g.groups + i);
      std::byte* const to = blob + g.scales + (panel * g.groups + i) * g.scale_group_bytes;
      if (coded) {
        or_row_code(to, Planes(spec.groups.scale_bits), lane, parts.scale_codes[at]);
      } else {
        store_u16(to + 2 * lane, parts.scale_f16[at]);
      }
    }
    for (std::int64_t i = 0; coded && i < g.supers; ++i)
      store_u16(blob + g.scale_supers + ((panel * g.supers + i) * kPanelRows + lane) * 2,
                parts.scale_super[static_cast<std::size_t>(r * g.supers + i)]);
  }
  std::memcpy(blob + l.books, parts.books.data(), parts.books.size());
  return Term{spec, Blob::of(std::move(buffer))};
}

namespace {

std::uint8_t read_code(const CodeQuads& quads, const std::byte* panel, const Place& place, int lane) {
  unsigned code = 0;
  quads.for_planes(place.quad, [&](std::int64_t at, int shift, int i) {
    const unsigned byte = std::to_integer<unsigned>(panel[at + 4 * lane + place.lane]);
    code |= ((byte >> shift) & ((1u << quads.planes.width[i]) - 1u)) << quads.planes.low[i];
  });
  return static_cast<std::uint8_t>(code);
}

}  // namespace

Result<VqParts> unpack_vq(const Term& term, std::int64_t rows, std::int64_t cols) {
  const auto* spec = std::get_if<VqAdditiveSpec>(&term.spec);
  if (spec == nullptr) return internal_error("[unpack] " + codec_name(term.spec) + ": not vq_additive");
  SPARING_TRY(const VqLayout l, layout_of(*spec, rows, cols));
  if (term.blob.bytes.size() != l.total)
    return input_error("[unpack] a blob of " + std::to_string(term.blob.bytes.size()) + " bytes: needs " +
                       std::to_string(l.total));
  const std::byte* const blob = term.blob.bytes.data();
  const CodeQuads quads = code_quads(*spec, l);
  const IntGroupLayout& g = l.groups;
  const bool coded = spec->groups.scale == ScaleKind::coded;
  VqParts parts;
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t panel = r / kPanelRows;
    const int lane = static_cast<int>(r % kPanelRows);
    for (std::int64_t v = 0; v < l.vectors; ++v)
      for (std::int64_t b = 0; b < spec->books; ++b)
        parts.codes.push_back(read_code(quads, blob + g.codes + panel * l.panel_bytes, place_of(*spec, v, b), lane));
    for (std::int64_t i = 0; i < g.groups; ++i) {
      const std::byte* const from = blob + g.scales + (panel * g.groups + i) * g.scale_group_bytes;
      if (coded) {
        parts.scale_codes.push_back(
            static_cast<std::uint8_t>(read_row_code(from, Planes(spec->groups.scale_bits), lane)));
      } else {
        parts.scale_f16.push_back(load_u16(from + 2 * lane));
      }
    }
    for (std::int64_t i = 0; coded && i < g.supers; ++i)
      parts.scale_super.push_back(super_bits(g, blob, g.scale_supers, r, i));
  }
  const auto* books = reinterpret_cast<const std::int8_t*>(blob + l.books);
  parts.books.assign(books, books + entries_of(*spec) * static_cast<std::size_t>(spec->books * spec->vector));
  return parts;
}

template <class T>
void read_vq_row(const VqAdditiveSpec& spec, const VqLayout& l, const std::byte* blob, std::int64_t cols,
                 std::int64_t row, T* out) {
  const CodeQuads quads = code_quads(spec, l);
  const std::byte* const panel = blob + l.groups.codes + row / kPanelRows * l.panel_bytes;
  const auto* books = reinterpret_cast<const std::int8_t*>(blob + l.books);
  const int lane = static_cast<int>(row % kPanelRows);
  for (std::int64_t v = 0; v < l.vectors; ++v) {
    const std::int64_t first = v * spec.vector, count = std::min<std::int64_t>(spec.vector, cols - first);
    int sums[8] = {};
    for (std::int64_t b = 0; b < spec.books; ++b) {
      const std::size_t code = read_code(quads, panel, place_of(spec, v, b), lane);
      const std::int8_t* entry =
          books + (static_cast<std::size_t>(b) * entries_of(spec) + code) * static_cast<std::size_t>(spec.vector);
      for (std::int64_t j = 0; j < count; ++j) sums[j] += entry[j];
    }
    for (std::int64_t j = 0; j < count; ++j) out[first + j] = static_cast<T>(sums[j]);
  }
}
template void read_vq_row(const VqAdditiveSpec&, const VqLayout&, const std::byte*, std::int64_t, std::int64_t,
                          std::int8_t*);
template void read_vq_row(const VqAdditiveSpec&, const VqLayout&, const std::byte*, std::int64_t, std::int64_t, float*);

void decode_vq_row(const VqAdditiveSpec& spec, const VqLayout& l, const std::byte* blob, std::int64_t cols,
                   std::int64_t row, float* out) {
  read_vq_row(spec, l, blob, cols, row, out);
  const IntGroupSpec scales = as_int_group(spec);
  for (std::int64_t g = 0; g < l.groups.groups; ++g) {
    const float scale = group_values(scales, l.groups, blob, row, g).scale;
    const std::int64_t first = g * spec.groups.group, last = std::min<std::int64_t>(cols, first + spec.groups.group);
    for (std::int64_t c = first; c < last; ++c) out[c] *= scale;
  }
}

Status validate_vq(const VqAdditiveSpec& spec, const VqLayout& l, Bytes blob, bool deep) {
  SPARING_CHECK_OK(check_books(spec, reinterpret_cast<const std::int8_t*>(blob.data() + l.books)));
  return deep ? validate_scales(as_int_group(spec), l.groups, blob) : Status();
}

}  // namespace sparing
