#include "formats/hf_pack.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

#include "codecs/int_group.h"
#include "tensor/half.h"

namespace sparing {
namespace {

using nlohmann::json;

constexpr std::int32_t kWord = 32;

const char* name_of(HfPacking packing) {
  return packing == HfPacking::gptq ? "gptq" : "compressed-tensors";
}

Error refuse(const std::string& tensor, const std::string& what) {
  return input_error("[export] tensor " + tensor + " " + what);
}

std::int64_t words(std::int64_t count, std::int32_t bits) {
  return (count * bits + kWord - 1) / kWord;
}

/// Codes of `bits` each, lowest bits first, in words `stride` apart from `first`.
class Stream {
 public:
  Stream(std::vector<std::byte>& bytes, std::int64_t first, std::int64_t stride, std::int32_t bits)
      : bytes_(bytes), first_(first), stride_(stride), bits_(bits) {}
  void set(std::int64_t index, std::uint32_t code) {
    const std::int64_t bit = index * bits_, word = bit / kWord, shift = bit % kWord;
    const std::uint64_t value = static_cast<std::uint64_t>(code) << shift;
    add(word, static_cast<std::uint32_t>(value));
    if (shift + bits_ > kWord) add(word + 1, static_cast<std::uint32_t>(value >> kWord));
  }

 private:
  void add(std::int64_t word, std::uint32_t value) {
    std::byte* at = bytes_.data() + (first_ + word * stride_) * 4;
    std::uint32_t old;
    std::memcpy(&old, at, 4);
    old |= value;
    std::memcpy(at, &old, 4);
  }
  std::vector<std::byte>& bytes_;
  std::int64_t first_, stride_;
  std::int32_t bits_;
};

/// An int_group weight taken apart.
struct Packable {
  CodedWeight weight;
  IntGroupSpec spec;
  IntGroupLayout layout;
  std::vector<std::int32_t> order;  ///< each input's group; empty: in order
  std::vector<std::int64_t> input;  ///< the input that column i holds

  GroupValues values(std::int64_t row, std::int64_t group) const {
    return group_values(spec, layout, weight.terms[0].blob.bytes.data(), row, group);
  }
};

Result<Packable> take_apart(const Checkpoint& checkpoint, const std::string& tensor) {
  Packable p;
  SPARING_TRY(p.weight, checkpoint.weight(tensor));
  const auto* spec = std::get_if<IntGroupSpec>(&p.weight.terms[0].spec);
  if (p.weight.terms.size() != 1 || spec == nullptr)
    return refuse(tensor, "is stored as " + describe(p.weight.terms[0].spec) +
                              (p.weight.terms.size() > 1 ? " and more" : "") +
                              ": only integer codes with one scale a group are packed; compress it with rtn, gptq or "
                              "signround");
  p.spec = *spec;
  if (p.spec.zero == ZeroKind::f16_min || p.spec.zero == ZeroKind::coded_min)
    return refuse(tensor, "has minima that are no whole codes: compress with zero=integer or symmetric=true");
  SPARING_TRY(p.layout, layout_of(p.spec, p.weight.rows, p.weight.cols));
  const std::int64_t cols = p.weight.cols, group = std::min<std::int64_t>(p.spec.groups.group, cols);
  if (cols % group != 0)
    return refuse(tensor, "has groups of " + std::to_string(group) + " where a row has " + std::to_string(cols) +
                              " inputs: these formats want groups that divide it, compress with --group 64 or 32");
  p.input.resize(static_cast<std::size_t>(cols));
  for (std::size_t i = 0; i < p.input.size(); ++i) p.input[i] = static_cast<std::int64_t>(i);
  if (p.weight.input.kind == TransformKind::identity) return p;
  if (p.weight.input.kind != TransformKind::permutation)
    return refuse(tensor,
                  "multiplies a transformed input, which these formats cannot say: compress it with basis=none");
  const std::byte* index = p.weight.input.blob.bytes.data();
  p.order.resize(p.input.size());
  for (std::size_t i = 0; i < p.input.size(); ++i) {
    std::uint32_t at = 0;
    std::memcpy(&at, index + i * (cols <= 65536 ? 2 : 4), cols <= 65536 ? 2 : 4);
    p.input[i] = at;
    p.order[at] = static_cast<std::int32_t>(static_cast<std::int64_t>(i) / group);
  }
  return p;
}

struct Seen {
  std::string tensor;
  std::int32_t bits;
  std::int64_t group;  ///< 0: the row
};

/// Scales are f16, and zeros fit.
Status check_grid(const Packable& p, const std::string& tensor, HfPacking packing, bool& symmetric) {
  for (std::int64_t r = 0; r < p.weight.rows; ++r) {
    for (std::int64_t g = 0; g < p.layout.groups; ++g) {
      const GroupValues v = p.values(r, g);
      if (f16_to_f32(f32_to_f16(v.scale)) != v.scale)
        return refuse(tensor, "has scales that f16 does not hold: compress with scale=f16");
      symmetric = symmetric && v.zero == 1 << (p.spec.bits - 1);
      if (packing == HfPacking::gptq && v.zero == 0)
        return refuse(tensor,
                      "has a zero of 0, which GPTQ's format (zeros less one) cannot store: use --to "
                      "compressed-tensors, or compress with symmetric=true");
      if (v.zero >= 1 << p.spec.bits)
        return refuse(tensor, "has a zero of " + std::to_string(v.zero) + ", beyond its " +
                                  std::to_string(p.spec.bits) + " bits");
    }
  }
  return {};
}

}  // namespace

bool is_packed_tensor(const TensorShape& shape) {
  return !shape.is_vector() && shape.name.starts_with("layers.");
}

Result<PackScheme> pack_scheme(const Checkpoint& checkpoint, HfPacking packing) {
  PackScheme scheme;
  std::optional<Seen> first;
  bool symmetric = true;
  for (const TensorShape& shape : expected_tensors(checkpoint.config())) {
    if (!is_packed_tensor(shape)) continue;
    SPARING_TRY(const Packable p, take_apart(checkpoint, shape.name));
    const bool whole = p.spec.groups.group >= shape.cols;
    const Seen seen{shape.name, p.spec.bits, whole ? 0 : p.spec.groups.group};
    if (!first) first = seen;
    if (seen.bits != first->bits || seen.group != first->group)
      return refuse(seen.tensor, "has " + describe(p.weight.terms[0].spec) + " where " + first->tensor + " has " +
                                     std::to_string(first->bits) + " bits in groups of " +
                                     (first->group == 0 ? "a row" : std::to_string(first->group)) +
                                     ": these formats take one setting for all; --to gguf or hf takes any");
    SPARING_CHECK_OK(check_grid(p, shape.name, packing, symmetric));
    scheme.ordered = scheme.ordered || !p.order.empty();
    checkpoint.forget(shape.name);
  }
  if (!first) return input_error("[export] the model has no linear weights to pack");
  const bool gptq_width = first->bits == 2 || first->bits == 3 || first->bits == 4 || first->bits == 8;
  if (packing == HfPacking::gptq && !gptq_width)
    return refuse(first->tensor, "has codes of " + std::to_string(first->bits) + " bits: GPTQ packs 2, 3, 4 or 8");
  scheme.quantization = {.packing = packing,
                         .bits = first->bits,
                         .group = static_cast<std::int32_t>(first->group),
                         .zeros_less_one = packing == HfPacking::gptq,
                         .symmetric = symmetric};
  return scheme;
}

json pack_config(const PackScheme& scheme) {
  const HfQuantization& q = scheme.quantization;
  if (q.packing == HfPacking::gptq)
    return {{"quant_method", name_of(q.packing)},
            {"checkpoint_format", "gptq"},
            {"bits", q.bits},
            {"group_size", q.group == 0 ? -1 : q.group},
            {"sym", q.symmetric},
            {"desc_act", scheme.ordered},
            {"lm_head", false}};
  json weights = {{"num_bits", q.bits},
                  {"type", "int"},
                  {"symmetric", q.symmetric},
                  {"strategy", q.group == 0 ? "channel" : "group"},
                  {"dynamic", false}};
  if (q.group != 0) weights["group_size"] = q.group;
  if (scheme.ordered) weights["actorder"] = "group";
  return {{"quant_method", name_of(q.packing)},
          {"format", "pack-quantized"},
          {"quantization_status", "compressed"},
          {"ignore", {"lm_head"}},
          {"config_groups",
           {{"group_0",
             {{"targets", {"Linear"}},
              {"weights", std::move(weights)},
              {"input_activations", nullptr},
              {"output_activations", nullptr}}}}}};
}

std::vector<SafeTensorPlan> packed_tensors(const PackScheme& scheme, const std::string& module,
                                           const TensorShape& shape) {
  const HfQuantization& q = scheme.quantization;
  const std::int64_t rows = shape.rows, cols = shape.cols, groups = q.group == 0 ? 1 : cols / q.group;
  std::vector<SafeTensorPlan> plans;
  if (q.packing == HfPacking::gptq) {
    plans.push_back({module + ".qweight", DType::i32, {words(cols, q.bits), rows}});
    plans.push_back({module + ".scales", DType::f16, {groups, rows}});
    plans.push_back({module + ".qzeros", DType::i32, {groups, words(rows, q.bits)}});
    plans.push_back({module + ".g_idx", DType::i32, {cols}});
    return plans;
  }
  plans.push_back({module + ".weight_packed", DType::i32, {rows, words(cols, q.bits)}});
  plans.push_back({module + ".weight_scale", DType::f16, {rows, groups}});
  plans.push_back({module + ".weight_shape", DType::i64, {2}});
  if (!q.symmetric) plans.push_back({module + ".weight_zero_point", DType::i32, {words(rows, q.bits), groups}});
  if (scheme.ordered) plans.push_back({module + ".weight_g_idx", DType::i32, {cols}});
  return plans;
}

Result<std::vector<std::vector<std::byte>>> packed_bytes(const PackScheme& scheme, const Checkpoint& checkpoint,
                                                         const TensorShape& shape) {
  const HfQuantization& q = scheme.quantization;
  const bool gptq = q.packing == HfPacking::gptq;
  SPARING_TRY(const Packable p, take_apart(checkpoint, shape.name));
  const std::int64_t rows = shape.rows, cols = shape.cols, groups = p.layout.groups;
  std::vector<std::byte> codes(
      static_cast<std::size_t>(gptq ? words(cols, q.bits) * rows : rows * words(cols, q.bits)) * 4);
  std::vector<std::byte> scales(static_cast<std::size_t>(rows * groups) * 2);
  std::vector<std::byte> zeros(
      static_cast<std::size_t>(gptq ? groups * words(rows, q.bits) : words(rows, q.bits) * groups) * 4);
  std::vector<std::uint8_t> row(static_cast<std::size_t>(cols));
  for (std::int64_t r = 0; r < rows; ++r) {
    read_codes(p.spec, p.layout, p.weight.terms[0].blob.bytes.data(), cols, r, row.data());
    Stream stream = gptq ? Stream(codes, r, rows, q.bits) : Stream(codes, r * words(cols, q.bits), 1, q.bits);
    for (std::size_t i = 0; i < row.size(); ++i) stream.set(p.input[i], row[i]);
    for (std::int64_t g = 0; g < groups; ++g) {
      const GroupValues v = p.values(r, g);
      const std::uint16_t scale = f32_to_f16(v.scale);
      std::memcpy(scales.data() + (gptq ? g * rows + r : r * groups + g) * 2, &scale, 2);
      const auto zero = static_cast<std::uint32_t>(v.zero - (q.zeros_less_one ? 1 : 0));
      (gptq ? Stream(zeros, g * words(rows, q.bits), 1, q.bits) : Stream(zeros, g, groups, q.bits)).set(r, zero);
    }
  }
  std::vector<std::byte> order(static_cast<std::size_t>(cols) * 4);
  for (std::int64_t c = 0; c < cols; ++c) {
    const std::int32_t group = !p.order.empty() ? p.order[static_cast<std::size_t>(c)]
                               : q.group == 0   ? 0
                                                : static_cast<std::int32_t>(c / q.group);
    std::memcpy(order.data() + c * 4, &group, 4);
  }
  std::vector<std::vector<std::byte>> parts;
  parts.push_back(std::move(codes));
  parts.push_back(std::move(scales));
  if (gptq) {
    parts.push_back(std::move(zeros));
    parts.push_back(std::move(order));
  } else {
    const std::int64_t extents[2] = {rows, cols};
    const auto* bytes = reinterpret_cast<const std::byte*>(extents);
    parts.emplace_back(bytes, bytes + sizeof extents);
    if (!q.symmetric) parts.push_back(std::move(zeros));
    if (scheme.ordered) parts.push_back(std::move(order));
  }
  checkpoint.forget(shape.name);
  return parts;
}

}  // namespace sparing
