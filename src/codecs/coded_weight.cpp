#include "codecs/coded_weight.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/checked.h"
#include "codecs/csr.h"
#include "codecs/dense.h"
#include "codecs/int_group.h"
#include "codecs/int_rows.h"
#include "codecs/lowrank.h"
#include "codecs/sign_lowrank.h"
#include "codecs/ternary_dict.h"
#include "codecs/transform.h"
#include "codecs/vq_additive.h"

namespace sparing {
namespace {

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

Error out_of_range(const char* codec, const char* field, std::int64_t value, const char* rule) {
  return input_error(std::string("[") + codec + "] " + field + " " + std::to_string(value) + ": must be " + rule);
}

Status validate_groups(const char* codec, const GroupSpec& g, bool needs_super) {
  if (g.group < 1) return out_of_range(codec, "group", g.group, "at least 1");
  if (g.scale == ScaleKind::coded) {
    if (g.scale_bits < 1 || g.scale_bits > 8) return out_of_range(codec, "scale_bits", g.scale_bits, "1 to 8");
    if (g.scale_offset < 0 || g.scale_offset > 256)
      return out_of_range(codec, "scale_offset", g.scale_offset, "0 to 256");
  } else {
    if (g.scale != ScaleKind::f16) return out_of_range(codec, "scale", static_cast<int>(g.scale), "a known kind");
    if (g.scale_bits != 0) return out_of_range(codec, "scale_bits", g.scale_bits, "0 with f16 scales");
    if (g.scale_offset != 0) return out_of_range(codec, "scale_offset", g.scale_offset, "0 with f16 scales");
  }
  if (needs_super ? g.super < 1 : g.super != 0)
    return out_of_range(codec, "super", g.super, needs_super ? "at least 1" : "0 without coded scales or minima");
  return {};
}

Status validate_int_group(const IntGroupSpec& s) {
  if (s.bits < 2 || s.bits > 8) return out_of_range("int_group", "bits", s.bits, "2 to 8");
  SPARING_CHECK_OK(
      validate_groups("int_group", s.groups, s.groups.scale == ScaleKind::coded || s.zero == ZeroKind::coded_min));
  const bool coded = s.zero == ZeroKind::integer || s.zero == ZeroKind::coded_min;
  if (s.zero > ZeroKind::coded_min) return out_of_range("int_group", "zero", static_cast<int>(s.zero), "a known kind");
  if (coded ? s.zero_bits < 1 || s.zero_bits > 8 : s.zero_bits != 0)
    return out_of_range("int_group", "zero_bits", s.zero_bits, coded ? "1 to 8" : "0 without coded zeros");
  if (s.zero == ZeroKind::constant ? s.zero_offset < 0 || s.zero_offset > (1 << s.bits) : s.zero_offset != 0)
    return out_of_range("int_group", "zero_offset", s.zero_offset,
                        s.zero == ZeroKind::constant ? "0 to 2^bits" : "0 unless the zero is constant");
  return {};
}

// A lut of one entry's codes would do as bits 1, but no coding has it; the layout's planes begin at 2 bits.
Status validate_lut_group(const LutGroupSpec& s) {
  if (s.bits < 2 || s.bits > 8) return out_of_range("lut_group", "bits", s.bits, "2 to 8");
  SPARING_CHECK_OK(validate_groups("lut_group", s.groups, s.groups.scale == ScaleKind::coded));
  if (s.table.size() != (1u << s.bits))
    return out_of_range("lut_group", "table size", static_cast<std::int64_t>(s.table.size()), "2^bits");
  for (const float v : s.table)
    if (!std::isfinite(v)) return input_error("[lut_group] table: every entry must be finite");
  return {};
}

Status validate_factor(const char* codec, const char* name, const FactorSpec& s) {
  const std::string field = std::string(name) + " ";
  if (s.bits != 4 && s.bits != 8 && s.bits != 16)
    return out_of_range(codec, (field + "bits").c_str(), s.bits, "4, 8 or 16");
  if (s.bits == 16 ? s.group != 0 : s.group < kFactorLanes || s.group % kFactorLanes != 0)
    return out_of_range(codec, (field + "group").c_str(), s.group,
                        s.bits == 16 ? "0 with f16 values" : "a multiple of 16");
  return {};
}

Status validate_lowrank(const char* codec, const LowRankSpec& s, std::int64_t rows, std::int64_t cols) {
  if (s.rank < 1 || s.rank > std::min(rows, cols))
    return out_of_range(codec, "rank", s.rank, "1 to the lesser of rows and columns");
  SPARING_CHECK_OK(validate_factor(codec, "inner", s.inner));
  return validate_factor(codec, "outer", s.outer);
}

std::string describe_factor(const FactorSpec& s) {
  return s.bits == 16 ? "f16" : std::to_string(s.bits) + "b g" + std::to_string(s.group);
}

Status validate_vq_additive(const VqAdditiveSpec& s) {
  if (s.vector != 1 && s.vector != 4 && s.vector != 8)
    return out_of_range("vq_additive", "vector", s.vector, "1, 4 or 8");
  const int most = s.vector == 1 ? 1 : 2;
  if (s.books < 1 || s.books > most)
    return out_of_range("vq_additive", "books", s.books, most == 1 ? "1 with vectors of 1" : "1 or 2");
  if (s.bits < 2 || s.bits > 8) return out_of_range("vq_additive", "bits", s.bits, "2 to 8");
  return validate_groups("vq_additive", s.groups, s.groups.scale == ScaleKind::coded);
}

std::string describe_lowrank(const LowRankSpec& s) {
  return " r" + std::to_string(s.rank) + " " + describe_factor(s.inner) +
         (s.outer == s.inner ? "" : " " + describe_factor(s.outer));
}

std::string describe_groups(const GroupSpec& g) {
  std::string text = " g" + std::to_string(g.group);
  if (g.scale == ScaleKind::f16) return text + " f16";
  return text + " s" + std::to_string(g.scale_bits) + "/" + std::to_string(g.super);
}

std::string describe_codes(const IntGroupSpec& s) {
  const std::string text = std::to_string(s.bits) + "b" + describe_groups(s.groups);
  switch (s.zero) {
    case ZeroKind::constant:
      return text + " z" + std::to_string(s.zero_offset);
    case ZeroKind::integer:
      return text + " zi" + std::to_string(s.zero_bits);
    case ZeroKind::f16_min:
      return text + " min";
    case ZeroKind::coded_min:
      return text + " min" + std::to_string(s.zero_bits) + "/" + std::to_string(s.groups.super);
  }
  return text;
}

}  // namespace

bool same_form(const CodecSpec& a, const CodecSpec& b) {
  if (std::holds_alternative<TernaryDictSpec>(a)) return std::holds_alternative<TernaryDictSpec>(b);
  const auto *x = std::get_if<LutGroupSpec>(&a), *y = std::get_if<LutGroupSpec>(&b);
  if (x == nullptr || y == nullptr) return a == b;
  return x->bits == y->bits && x->groups == y->groups && x->table.size() == y->table.size();
}

std::string codec_name(const CodecSpec& spec) {
  static constexpr const char* kNames[] = {"dense",       "int_group",    "lut_group",    "csr",     "lowrank",
                                           "vq_additive", "ternary_dict", "sign_lowrank", "int_rows"};
  return kNames[spec.index()];
}

std::string describe(const CodecSpec& spec) {
  return std::visit(
      Overloaded{
          [](const DenseSpec& s) { return "dense " + std::string(name_of(s.dtype)); },
          [](const IntGroupSpec& s) { return "int_group " + describe_codes(s); },
          [](const IntRowsSpec& s) { return "int_rows " + std::to_string(s.count) + " " + describe_codes(s.codes); },
          [](const LutGroupSpec& s) { return "lut_group " + std::to_string(s.bits) + "b" + describe_groups(s.groups); },
          [](const CsrSpec& s) { return "csr " + std::to_string(s.nonzeros) + (s.wide_index ? " u32" : " u16"); },
          [](const LowRankSpec& s) { return "lowrank" + describe_lowrank(s); },
          [](const VqAdditiveSpec& s) {
            return "vq_additive " + std::to_string(s.books) + "x" + std::to_string(s.bits) + "b v" +
                   std::to_string(s.vector) + describe_groups(s.groups);
          },
          [](const TernaryDictSpec& s) { return "ternary_dict " + std::to_string(s.words); },
          [](const SignLowRankSpec& s) { return "sign_lowrank" + describe_lowrank(s.magnitude); }},
      spec);
}

Status validate(const CodecSpec& spec, std::int64_t rows, std::int64_t cols) {
  constexpr std::int64_t kMost = 1ll << 40;
  if (rows < 1 || rows > kMost) return out_of_range(codec_name(spec).c_str(), "rows", rows, "1 to 2^40");
  if (cols < 1 || cols > kMost) return out_of_range(codec_name(spec).c_str(), "cols", cols, "1 to 2^40");
  return std::visit(
      Overloaded{[](const DenseSpec& s) -> Status {
                   if (s.dtype == DType::f32 || s.dtype == DType::f16 || s.dtype == DType::bf16) return {};
                   return input_error("[dense] dtype " + std::string(name_of(s.dtype)) + ": must be F32, F16 or BF16");
                 },
                 [](const IntGroupSpec& s) { return validate_int_group(s); },
                 [&](const IntRowsSpec& s) -> Status {
                   if (s.count < 1 || s.count > std::min<std::int64_t>(rows, 0xFFFFFFFFll))
                     return out_of_range("int_rows", "count", s.count, "1 to the matrix's rows");
                   return validate_int_group(s.codes);
                 },
                 [](const LutGroupSpec& s) { return validate_lut_group(s); },
                 [](const VqAdditiveSpec& s) { return validate_vq_additive(s); },
                 [](const TernaryDictSpec& s) -> Status {
                   if (s.words < 0 || s.words >= (1ll << 32))
                     return out_of_range("ternary_dict", "words", s.words, "0 to 2^32 - 1");
                   return {};
                 },
                 [&](const CsrSpec& s) -> Status {
                   if (s.nonzeros < 0 || s.nonzeros >= (1ll << 32))
                     return out_of_range("csr", "nonzeros", s.nonzeros, "0 to 2^32 - 1");
                   if (cols > (1ll << 32)) return out_of_range("csr", "cols", cols, "at most 2^32");
                   if (s.wide_index != (cols > 65536))
                     return input_error("[csr] wide_index: must be " + std::string(cols > 65536 ? "true" : "false") +
                                        " for " + std::to_string(cols) + " columns");
                   return {};
                 },
                 [&](const LowRankSpec& s) { return validate_lowrank("lowrank", s, rows, cols); },
                 [&](const SignLowRankSpec& s) -> Status {
                   if (s.magnitude.rank > kMostSignComponents)
                     return out_of_range("sign_lowrank", "rank", s.magnitude.rank, "at most 64");
                   return validate_lowrank("sign_lowrank", s.magnitude, rows, cols);
                 }},
      spec);
}

Result<std::uint64_t> blob_bytes(const CodecSpec& spec, std::int64_t rows, std::int64_t cols) {
  SPARING_CHECK_OK(validate(spec, rows, cols));
  return std::visit(Overloaded{[&](const DenseSpec& s) -> Result<std::uint64_t> {
                                 const auto n =
                                     checked_mul(static_cast<std::uint64_t>(rows), static_cast<std::uint64_t>(cols));
                                 const auto bytes = n ? checked_mul(*n, size_of(s.dtype)) : std::nullopt;
                                 if (!bytes || *bytes > (1ull << 62))
                                   return input_error("[dense] a matrix of " + std::to_string(rows) + " x " +
                                                      std::to_string(cols) + ": its size overflows");
                                 return *bytes;
                               },
                               [&](const auto& s) -> Result<std::uint64_t> {
                                 SPARING_TRY(const auto layout, layout_of(s, rows, cols));
                                 return layout.total;
                               }},
                    spec);
}

std::uint64_t stored_bytes(const CodedWeight& weight) {
  std::uint64_t total = round_up(weight.input.blob.bytes.size(), 64);
  for (const Term& term : weight.terms) total += round_up(term.blob.bytes.size(), 64);
  return total;
}

void forget(const CodedWeight& weight) {
  weight.input.blob.forget(weight.input.blob.bytes);
  for (const Term& term : weight.terms) term.blob.forget(term.blob.bytes);
}

Status validate(const CodedWeight& w, bool deep) {
  if (w.terms.empty() || w.terms.size() > 16)
    return out_of_range("weight", "terms", static_cast<std::int64_t>(w.terms.size()), "1 to 16");
  if (std::holds_alternative<IntRowsSpec>(w.terms.front().spec))
    return input_error("[int_rows] is the first term: the rows that it has not need one before it");
  SPARING_CHECK_OK(validate(w.input, w.cols, deep));
  for (const Term& term : w.terms) {
    SPARING_TRY(const std::uint64_t size, blob_bytes(term.spec, w.rows, w.cols));
    if (term.blob.bytes.size() != size)
      return input_error("[" + codec_name(term.spec) + "] a blob of " + std::to_string(term.blob.bytes.size()) +
                         " bytes: " + describe(term.spec) + " of " + std::to_string(w.rows) + " x " +
                         std::to_string(w.cols) + " needs " + std::to_string(size));
    SPARING_CHECK_OK(std::visit(
        Overloaded{[&](const DenseSpec& s) { return deep ? validate_floats(s.dtype, term.blob.bytes) : Status(); },
                   [&](const CsrSpec& s) { return validate_csr(s, w.rows, w.cols, term.blob.bytes, deep); },
                   [&](const TernaryDictSpec& s) { return validate_ternary(s, w.rows, w.cols, term.blob.bytes, deep); },
                   [&](const VqAdditiveSpec& s) -> Status {
                     SPARING_TRY(const VqLayout layout, layout_of(s, w.rows, w.cols));
                     return validate_vq(s, layout, term.blob.bytes, deep);
                   },
                   [&](const LutGroupSpec& s) -> Status {
                     if (!deep) return {};
                     SPARING_TRY(const IntGroupLayout layout, layout_of(s, w.rows, w.cols));
                     return validate_scales(as_int_group(s), layout, term.blob.bytes);
                   },
                   [&](const IntGroupSpec& s) -> Status {
                     if (!deep) return {};
                     SPARING_TRY(const IntGroupLayout layout, layout_of(s, w.rows, w.cols));
                     return validate_scales(s, layout, term.blob.bytes);
                   },
                   [&](const IntRowsSpec& s) { return validate_int_rows(s, w.rows, w.cols, term.blob.bytes, deep); },
                   [&](const LowRankSpec& s) {
                     return deep ? validate_lowrank_values(s, w.rows, w.cols, term.blob.bytes) : Status();
                   },
                   [&](const SignLowRankSpec& s) {
                     return deep ? validate_sign_lowrank_values(s, w.rows, w.cols, term.blob.bytes) : Status();
                   }},
        term.spec));
  }
  return {};
}

namespace {

/// Adds (or, first, writes) one term's rows.
void decode_term(const Term& term, std::int64_t rows, std::int64_t cols, std::int64_t row, std::int64_t count,
                 bool first, float* out) {
  const std::byte* blob = term.blob.bytes.data();
  if (const auto* csr = std::get_if<CsrSpec>(&term.spec)) {
    const CsrLayout layout = *layout_of(*csr, rows, cols);
    if (first) std::fill_n(out, count * cols, 0.0f);
    for (std::int64_t r = 0; r < count; ++r) add_csr_row(*csr, layout, blob, row + r, out + r * cols);
    return;
  }
  if (const auto* some = std::get_if<IntRowsSpec>(&term.spec)) {
    if (first) std::fill_n(out, count * cols, 0.0f);
    add_int_rows(*some, rows, cols, blob, row, count, out);
    return;
  }
  if (const auto* lowrank = std::get_if<LowRankSpec>(&term.spec)) {
    if (first) std::fill_n(out, count * cols, 0.0f);
    add_lowrank_rows(*lowrank, rows, cols, blob, row, count, out);
    return;
  }
  if (const auto* signs = std::get_if<SignLowRankSpec>(&term.spec)) {
    if (first) std::fill_n(out, count * cols, 0.0f);
    add_sign_lowrank_rows(*signs, rows, cols, blob, row, count, out);
    return;
  }
  std::vector<float> scratch(static_cast<std::size_t>(first ? 0 : cols));
  IntGroupLayout layout{};
  const auto* vq = std::get_if<VqAdditiveSpec>(&term.spec);
  const auto* integer = std::get_if<IntGroupSpec>(&term.spec);
  const auto* lut = std::get_if<LutGroupSpec>(&term.spec);
  if (integer != nullptr) layout = *layout_of(*integer, rows, cols);
  if (lut != nullptr) layout = *layout_of(*lut, rows, cols);
  for (std::int64_t r = 0; r < count; ++r) {
    float* to = first ? out + r * cols : scratch.data();
    if (integer != nullptr) {
      decode_int_group_row(*integer, layout, blob, cols, row + r, to);
    } else if (lut != nullptr) {
      decode_lut_group_row(*lut, layout, blob, cols, row + r, to);
    } else if (const auto* ternary = std::get_if<TernaryDictSpec>(&term.spec)) {
      decode_ternary_row(*layout_of(*ternary, rows, cols), blob, cols, row + r, to);
    } else if (vq != nullptr) {
      decode_vq_row(*vq, *layout_of(*vq, rows, cols), blob, cols, row + r, to);
    } else {
      const DType dtype = std::get<DenseSpec>(term.spec).dtype;
      decode_floats(dtype, blob + static_cast<std::size_t>((row + r) * cols) * size_of(dtype), cols, to);
    }
    if (!first)
      for (std::int64_t c = 0; c < cols; ++c) out[r * cols + c] += scratch[static_cast<std::size_t>(c)];
  }
}

}  // namespace

void decode_rows(const CodedWeight& w, std::int64_t row, std::int64_t count, float* out) {
  bool first = true;
  for (const Term& term : w.terms) {
    decode_term(term, w.rows, w.cols, row, count, first, out);
    first = false;
  }
}

void decode_effective_rows(const CodedWeight& w, std::int64_t row, std::int64_t count, float* out) {
  decode_rows(w, row, count, out);
  if (w.input.kind == TransformKind::identity) return;
  std::vector<float> scratch(static_cast<std::size_t>(w.cols));
  for (std::int64_t r = 0; r < count; ++r) fold_transform(w.input, w.cols, out + r * w.cols, scratch.data());
}

}  // namespace sparing
