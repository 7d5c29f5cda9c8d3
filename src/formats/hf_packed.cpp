#include "formats/hf_packed.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/checked.h"
#include "codecs/dense.h"
#include "codecs/int_group.h"
#include "codecs/transform.h"
#include "formats/json.h"
#include "tensor/half.h"

namespace sparing {
namespace {

std::uint32_t word_at(Bytes bytes, std::int64_t index) {
  std::uint32_t word;
  std::memcpy(&word, bytes.data() + index * 4, 4);
  return word;
}

std::int64_t words(std::int64_t count, std::int32_t bits) {
  return static_cast<std::int64_t>(ceil_div(static_cast<std::uint64_t>(count * bits), 32));
}

/// Code `index` of a stream of `bits` each, lowest bits first, across words that lie `stride` apart from `first`.
std::uint8_t code_at(Bytes bytes, std::int64_t first, std::int64_t stride, std::int64_t index, std::int32_t bits) {
  const std::int64_t bit = index * bits, word = bit / 32, shift = bit % 32;
  std::uint64_t value = word_at(bytes, first + word * stride);
  if (shift + bits > 32) value |= static_cast<std::uint64_t>(word_at(bytes, first + (word + 1) * stride)) << 32;
  return static_cast<std::uint8_t>((value >> shift) & ((1u << bits) - 1));
}

/// AWQ's order of eight outputs in a word: nibble i holds output {0, 2, 4, 6, 1, 3, 5, 7}[i].
std::uint8_t awq_code(Bytes bytes, std::int64_t first, std::int64_t output) {
  constexpr int kNibble[8] = {0, 4, 1, 5, 2, 6, 3, 7};
  return static_cast<std::uint8_t>((word_at(bytes, first + output / 8) >> (4 * kNibble[output % 8])) & 15);
}

/// One row's codes, in the file's order of inputs.
void read_row(const PackedLinear& p, std::int64_t row, std::uint8_t* codes) {
  const Bytes bytes = p.codes.bytes;
  for (std::int64_t c = 0; c < p.cols; ++c) {
    switch (p.scheme.packing) {
      case HfPacking::gptq:
        codes[c] = code_at(bytes, row, p.rows, c, p.scheme.bits);
        break;
      case HfPacking::awq:
        codes[c] = awq_code(bytes, c * (p.rows / 8), row);
        break;
      case HfPacking::compressed:
        codes[c] = code_at(bytes, row * words(p.cols, p.scheme.bits), 1, c, p.scheme.bits);
        break;
    }
  }
}

std::uint8_t zero_of(const PackedLinear& p, std::int64_t row, std::int64_t group) {
  const std::int32_t bits = p.scheme.bits;
  if (!p.zeros) return static_cast<std::uint8_t>(1 << (bits - 1));
  const Bytes bytes = p.zeros->bytes;
  switch (p.scheme.packing) {
    case HfPacking::gptq: {
      const int stored = code_at(bytes, group * words(p.rows, bits), 1, row, bits);
      return static_cast<std::uint8_t>((stored + (p.scheme.zeros_less_one ? 1 : 0)) & ((1 << bits) - 1));
    }
    case HfPacking::awq:
      return awq_code(bytes, group * (p.rows / 8), row);
    case HfPacking::compressed:
      return code_at(bytes, group, p.groups, row, bits);
  }
  return 0;
}

/// Scales lie [groups, outputs], or [outputs, groups] in compressed-tensors.
float scale_of(const PackedLinear& p, std::int64_t row, std::int64_t group) {
  const std::int64_t at = p.scheme.packing == HfPacking::compressed ? row * p.groups + group : group * p.rows + row;
  const DType dtype = p.scales.tensor.dtype;
  float value;
  decode_floats(dtype, p.scales.bytes.data() + at * static_cast<std::int64_t>(size_of(dtype)), 1, &value);
  return value;
}

Error wrong(const std::string& where, const PackedPart& item, const std::string& what) {
  return input_error(where + ": tensor \"" + shown(item.tensor.name) + "\" " + what);
}

std::string list_text(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (const std::int64_t extent : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

Status expect(const std::string& where, const PackedPart& item, std::initializer_list<DType> dtypes,
              const std::vector<std::int64_t>& shape) {
  if (std::find(dtypes.begin(), dtypes.end(), item.tensor.dtype) == dtypes.end()) {
    return wrong(where, item, "has dtype " + std::string(name_of(item.tensor.dtype)) + ", which is not what is packed");
  }
  if (item.tensor.shape != shape) {
    return wrong(where, item,
                 "has shape " + list_text(item.tensor.shape) + " where quantization_config needs " + list_text(shape));
  }
  return {};
}

std::optional<PackedPart> take(SafetensorsSet& set, const std::string& name) {
  const auto found = set.tensors.find(name);
  if (found == set.tensors.end()) return std::nullopt;
  PackedPart part{found->second.tensor, found->second.bytes(), found->second.file};
  set.tensors.erase(found);
  return part;
}

/// Inputs sorted by group, in the file's order within each; empty where they are sorted already.
Result<std::vector<std::uint32_t>> sorted_inputs(const PackedLinear& p) {
  std::vector<std::uint32_t> sorted;
  if (!p.order) return sorted;
  const std::int64_t group = p.scheme.group == 0 ? p.cols : p.scheme.group;
  const bool wide = p.order->tensor.dtype == DType::i64;
  std::vector<std::int64_t> of(static_cast<std::size_t>(p.cols));
  std::vector<std::int64_t> held(static_cast<std::size_t>(p.groups));
  bool in_order = true;
  for (std::int64_t i = 0; i < p.cols; ++i) {
    std::int64_t g = 0;
    if (wide) {
      std::memcpy(&g, p.order->bytes.data() + i * 8, 8);
    } else {
      g = static_cast<std::int32_t>(word_at(p.order->bytes, i));
    }
    if (g < 0 || g >= p.groups) {
      return input_error("tensor \"" + shown(p.order->tensor.name) + "\" puts input " + std::to_string(i) +
                         " into group " + std::to_string(g) + " of " + std::to_string(p.groups) +
                         ": the file is damaged");
    }
    of[static_cast<std::size_t>(i)] = g;
    ++held[static_cast<std::size_t>(g)];
    in_order = in_order && g == i / group;
  }
  if (in_order) return sorted;
  for (std::int64_t g = 0; g < p.groups; ++g) {
    const std::int64_t size = std::min(group, p.cols - g * group);
    if (held[static_cast<std::size_t>(g)] != size) {
      return input_error("tensor \"" + shown(p.order->tensor.name) + "\" gives group " + std::to_string(g) + " " +
                         std::to_string(held[static_cast<std::size_t>(g)]) + " inputs where " + std::to_string(size) +
                         " belong: uneven groups are not read");
    }
  }
  sorted.resize(of.size());
  std::iota(sorted.begin(), sorted.end(), 0u);
  std::stable_sort(sorted.begin(), sorted.end(), [&](std::uint32_t a, std::uint32_t b) { return of[a] < of[b]; });
  return sorted;
}

/// s * (q - z) as floats, for scales that f16 does not hold.
Result<CodedWeight> as_floats(const PackedLinear& p, const std::vector<std::uint32_t>& sorted) {
  Buffer values(static_cast<std::size_t>(p.rows * p.cols) * sizeof(float));
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(p.cols));
  const std::int64_t group = p.scheme.group == 0 ? p.cols : p.scheme.group;
  for (std::int64_t r = 0; r < p.rows; ++r) {
    read_row(p, r, codes.data());
    float* row = values.as<float>().data() + r * p.cols;
    for (std::int64_t i = 0; i < p.cols; ++i) {
      const std::int64_t c = sorted.empty() ? i : sorted[static_cast<std::size_t>(i)], g = i / group;
      row[c] = scale_of(p, r, g) * static_cast<float>(codes[static_cast<std::size_t>(c)] - zero_of(p, r, g));
    }
  }
  return dense_weight(p.rows, p.cols, DType::f32, Blob::of(std::move(values)));
}

struct Grid {
  std::vector<std::uint16_t> scales;
  std::vector<std::uint8_t> zeros;
  bool exact = true;     ///< every scale is an f16
  bool constant = true;  ///< every zero is the first
};

Grid read_grid(const PackedLinear& p) {
  Grid grid;
  for (std::int64_t r = 0; r < p.rows; ++r) {
    for (std::int64_t g = 0; g < p.groups; ++g) {
      const float scale = scale_of(p, r, g);
      grid.scales.push_back(f32_to_f16(scale));
      grid.exact = grid.exact && f16_to_f32(grid.scales.back()) == scale;
      grid.zeros.push_back(zero_of(p, r, g));
      grid.constant = grid.constant && grid.zeros.back() == grid.zeros.front();
    }
  }
  return grid;
}

}  // namespace

Result<std::optional<PackedLinear>> take_packed(SafetensorsSet& set, const std::string& module,
                                                const HfQuantization& scheme, std::int64_t rows, std::int64_t cols,
                                                const std::string& where) {
  const bool compressed = scheme.packing == HfPacking::compressed;
  std::optional<PackedLinear> none;
  auto codes = take(set, module + (compressed ? ".weight_packed" : ".qweight"));
  if (!codes) return none;
  auto scales = take(set, module + (compressed ? ".weight_scale" : ".scales"));
  if (!scales) return input_error(where + ": tensor " + module + "'s scales are missing: download the model again");
  PackedLinear p{scheme, rows, cols, 0, *std::move(codes), *std::move(scales), {}, {}};
  const std::int64_t group = scheme.group == 0 ? cols : scheme.group;
  p.groups = static_cast<std::int64_t>(ceil_div(static_cast<std::uint64_t>(cols), static_cast<std::uint64_t>(group)));
  p.zeros = take(set, module + (compressed ? ".weight_zero_point" : ".qzeros"));
  p.order = take(set, module + (compressed ? ".weight_g_idx" : ".g_idx"));
  if (compressed) take(set, module + ".weight_shape");
  const bool needs_zeros = !compressed || !scheme.symmetric;
  if (needs_zeros && !p.zeros) {
    return input_error(where + ": tensor " + module + "'s zero points are missing: download the model again");
  }
  if (compressed && scheme.symmetric) p.zeros.reset();
  const auto floats = {DType::f16, DType::bf16, DType::f32};
  const std::int32_t bits = scheme.bits;
  if (scheme.packing == HfPacking::awq && rows % 8 != 0) {
    return wrong(where, p.codes, "packs " + std::to_string(rows) + " outputs, which 8 does not divide");
  }
  switch (scheme.packing) {
    case HfPacking::gptq:
      SPARING_CHECK_OK(expect(where, p.codes, {DType::i32}, {words(cols, bits), rows}));
      SPARING_CHECK_OK(expect(where, *p.zeros, {DType::i32}, {p.groups, words(rows, bits)}));
      SPARING_CHECK_OK(expect(where, p.scales, floats, {p.groups, rows}));
      break;
    case HfPacking::awq:
      SPARING_CHECK_OK(expect(where, p.codes, {DType::i32}, {cols, rows / 8}));
      SPARING_CHECK_OK(expect(where, *p.zeros, {DType::i32}, {p.groups, rows / 8}));
      SPARING_CHECK_OK(expect(where, p.scales, floats, {p.groups, rows}));
      break;
    case HfPacking::compressed:
      SPARING_CHECK_OK(expect(where, p.codes, {DType::i32}, {rows, words(cols, bits)}));
      if (p.zeros) SPARING_CHECK_OK(expect(where, *p.zeros, {DType::i32}, {words(rows, bits), p.groups}));
      SPARING_CHECK_OK(expect(where, p.scales, floats, {rows, p.groups}));
      break;
  }
  if (p.order) SPARING_CHECK_OK(expect(where, *p.order, {DType::i32, DType::i64}, {cols}));
  return std::optional<PackedLinear>(std::move(p));
}

Result<CodedWeight> transcode_packed(const PackedLinear& p) {
  SPARING_TRY(const std::vector<std::uint32_t> sorted, sorted_inputs(p));
  const Grid grid = read_grid(p);
  if (!grid.exact) return as_floats(p, sorted);
  IntGroupSpec spec;
  spec.bits = p.scheme.bits;
  spec.groups.group = p.scheme.group == 0 ? static_cast<std::int32_t>(p.cols) : p.scheme.group;
  spec.zero = grid.constant ? ZeroKind::constant : ZeroKind::integer;
  spec.zero_bits = grid.constant ? 0 : p.scheme.bits;
  spec.zero_offset = grid.constant ? grid.zeros.front() : 0;
  SPARING_TRY(IntGroupWriter writer, IntGroupWriter::create(spec, p.rows, p.cols));
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(p.cols)), ordered(codes.size());
  for (std::int64_t r = 0; r < p.rows; ++r) {
    read_row(p, r, codes.data());
    for (std::size_t i = 0; i < sorted.size(); ++i) ordered[i] = codes[sorted[i]];
    writer.codes(r, 0, sorted.empty() ? codes.data() : ordered.data(), p.cols);
    for (std::int64_t g = 0; g < p.groups; ++g) {
      const auto at = static_cast<std::size_t>(r * p.groups + g);
      writer.scale_f16(r, g, grid.scales[at]);
      if (!grid.constant) writer.zero_code(r, g, grid.zeros[at]);
    }
  }
  CodedWeight weight;
  weight.rows = p.rows;
  weight.cols = p.cols;
  if (!sorted.empty()) {
    SPARING_TRY(weight.input, permutation_transform(sorted));
  }
  weight.terms.push_back({spec, std::move(writer).finish()});
  return weight;
}

}  // namespace sparing
