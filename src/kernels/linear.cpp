#include "kernels/linear.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <variant>

#include "codecs/int_rows.h"
#include "codecs/vq_additive.h"
#include "kernels/isa.h"
#include "kernels/prepared.h"

namespace sparing::kernels {
namespace {

/// What a step of the table's int8 form is worth: 1 for a table of integers, else the largest entry over 127.
float table_unit(const std::vector<float>& table) {
  float largest = 0;
  bool integers = true;
  for (const float v : table) {
    largest = std::max(largest, std::fabs(v));
    integers = integers && v >= -128.0f && v <= 127.0f && v == std::nearbyint(v);
  }
  return integers ? 1.0f : largest / 127.0f;
}

}  // namespace

void Linear::Impl::cut_segments(IntWeight& w) {
  const std::int64_t group = w.spec.groups.group;
  if (group >= w.cols || group % 32 == 0) {
    w.segments = SegmentKind::whole;
    w.blocks_per_group = static_cast<std::int32_t>(std::min((group + 31) / 32, w.layout.blocks));
  } else if (group == 16) {
    w.segments = SegmentKind::half;
  } else if (!has_fast_kernels(group, w.cols)) {
    w.segments = SegmentKind::ragged;
  } else {
    w.segments = SegmentKind::quads;
    auto& list = segment_lists.emplace_back();
    auto& starts = segment_starts.emplace_back();
    const auto quads_per_group = static_cast<std::int32_t>(group / 4);
    for (std::int64_t b = 0; b < w.layout.blocks; ++b) {
      starts.push_back(static_cast<std::int32_t>(list.size()));
      for (std::int32_t q = 0; q < 8;) {
        const std::int64_t g = std::min((b * 8 + q) / quads_per_group, w.layout.groups - 1);
        // Quads past the last group are padding and stay with it: their activations are zero.
        const std::int64_t stop = g + 1 == w.layout.groups ? (b + 1) * 8 : (g + 1) * quads_per_group;
        const auto last = static_cast<std::int32_t>(std::min<std::int64_t>(8, stop - b * 8));
        list.push_back({q, last, static_cast<std::int32_t>(g)});
        q = last;
      }
    }
    starts.push_back(static_cast<std::int32_t>(list.size()));
    w.segment_list = list.data();
    w.segment_starts = starts.data();
  }
}

Status Linear::Impl::add_vq(const Term& term, IntWeight& w) {
  const auto& spec = std::get<VqAdditiveSpec>(term.spec);
  SPARING_TRY(const VqLayout layout, layout_of(spec, weight.rows, weight.cols));
  w.layout = layout.groups;
  auto& entries = tables.emplace_back();
  const std::byte* books = term.blob.bytes.data() + layout.books;
  const std::int64_t size = static_cast<std::int64_t>(spec.vector) << spec.bits;
  for (std::int64_t i = 0; i < size * spec.books; ++i)
    entries.push_back(static_cast<std::uint8_t>(std::to_integer<int>(books[i]) + (i < size ? 128 : 0)));
  w.table = entries.data();
  if (spec.vector == 1) {
    w.spec.bits = spec.bits;
    return {};
  }
  const CodeQuads quads = code_quads(spec, layout);
  w.vq = {.entries = entries.data(),
          .vector = spec.vector,
          .books = spec.books,
          .bits = spec.bits,
          .planes = quads.planes.count,
          .width = {quads.planes.width[0], quads.planes.width[1], quads.planes.width[2]},
          .low = {quads.planes.low[0], quads.planes.low[1], quads.planes.low[2]},
          .quads = layout.quads,
          .panel_bytes = layout.panel_bytes};
  return {};
}

Status Linear::Impl::add_rows(const Term& term, Precision precision) {
  const auto& spec = std::get<IntRowsSpec>(term.spec);
  SPARING_TRY(const IntRowsLayout layout, layout_of(spec, weight.rows, weight.cols));
  RowsWeight w{};
  w.codes_at = layout.codes;
  w.index = term.blob.bytes.data() + layout.index;
  w.codes.spec = spec.codes;
  w.codes.layout = layout.of_codes;
  w.codes.rows = spec.count;
  w.codes.cols = weight.cols;
  w.codes.table_unit = 1;
  w.codes.blob = term.blob.bytes.data() + layout.codes;
  if (precision == Precision::f32) {
    needs_f32 = true;
  } else {
    (precision == Precision::int8 ? needs_q8 : needs_q16) = true;
  }
  cut_segments(w.codes);
  row_panels += w.panels();
  terms.emplace_back(w);
  return {};
}

Status Linear::Impl::add(const Term& term, Precision precision) {
  const std::int64_t rows = weight.rows, cols = weight.cols;
  if (const auto* dense = std::get_if<DenseSpec>(&term.spec)) {
    needs_f32 = true;
    terms.emplace_back(DenseWeight{dense->dtype, rows, cols, term.blob.bytes.data()});
    return {};
  }
  if (const auto* csr = std::get_if<CsrSpec>(&term.spec)) {
    needs_f32 = true;
    SPARING_TRY(const CsrLayout layout, layout_of(*csr, rows, cols));
    terms.emplace_back(CsrWeight{*csr, layout, rows, cols, term.blob.bytes.data()});
    return {};
  }
  if (const auto* lowrank = std::get_if<LowRankSpec>(&term.spec)) {
    needs_f32 = true;
    components += lowrank->rank;
    SPARING_TRY(const LowRankLayout layout, layout_of(*lowrank, rows, cols));
    const std::byte* blob = term.blob.bytes.data();
    terms.emplace_back(LowRankWeight{{lowrank->inner, layout.inner, lowrank->rank, cols, blob},
                                     {lowrank->outer, layout.outer, lowrank->rank, rows, blob}});
    return {};
  }
  if (const auto* ternary = std::get_if<TernaryDictSpec>(&term.spec)) {
    needs_f32 = true;
    SPARING_TRY(const TernaryLayout layout, layout_of(*ternary, rows, cols));
    terms.emplace_back(TernaryWeight{layout, rows, cols, term.blob.bytes.data(), ternary_dictionary().data()});
    return {};
  }
  if (const auto* signs = std::get_if<SignLowRankSpec>(&term.spec)) {
    needs_f32 = true;
    SPARING_TRY(const SignLowRankLayout layout, layout_of(*signs, rows, cols));
    const LowRankSpec& s = signs->magnitude;
    const std::byte* blob = term.blob.bytes.data();
    terms.emplace_back(SignWeight{layout,
                                  {s.inner, layout.factors.inner, s.rank, cols, blob},
                                  {s.outer, layout.factors.outer, s.rank, rows, blob}});
    return {};
  }
  if (std::holds_alternative<IntRowsSpec>(term.spec)) return add_rows(term, precision);
  const auto* lut = std::get_if<LutGroupSpec>(&term.spec);
  const auto* vq = std::get_if<VqAdditiveSpec>(&term.spec);
  IntWeight w{};
  w.spec = vq != nullptr ? as_int_group(*vq) : lut != nullptr ? as_int_group(*lut) : std::get<IntGroupSpec>(term.spec);
  SPARING_TRY(w.layout, layout_of(w.spec, rows, cols));
  if (precision == Precision::f32) {
    needs_f32 = true;
    terms.emplace_back(DecodedWeight{&term, rows, cols, w.layout});
    return {};
  }
  (precision == Precision::int8 ? needs_q8 : needs_q16) = true;
  w.rows = rows;
  w.cols = cols;
  w.table_unit = 1;
  w.blob = term.blob.bytes.data();
  if (lut != nullptr) {
    auto& table = tables.emplace_back();
    w.table_unit = table_unit(lut->table);
    for (const float v : lut->table)
      table.push_back(static_cast<std::uint8_t>(static_cast<std::int32_t>(std::nearbyint(v / w.table_unit)) + 128));
    w.table = table.data();
  }
  if (vq != nullptr) SPARING_CHECK_OK(add_vq(term, w));
  cut_segments(w);
  terms.emplace_back(w);
  return {};
}

Result<Linear> Linear::prepare(CodedWeight weight, Precision precision) {
  // Indices in csr terms and permutations are checked here: products trust them.
  SPARING_CHECK_OK(validate(weight, false));
  Linear linear;
  linear.impl_ = std::make_unique<Impl>();
  Impl& impl = *linear.impl_;
  impl.weight = std::move(weight);
  impl.kernels = &kernels_of(chosen_isa());
  for (const Term& term : impl.weight.terms) {
    if (!std::holds_alternative<IntRowsSpec>(term.spec)) impl.last_whole = impl.terms.size();
    SPARING_CHECK_OK(impl.add(term, precision));
  }
  return linear;
}

Linear::Linear(Linear&&) noexcept = default;
Linear& Linear::operator=(Linear&&) noexcept = default;
Linear::~Linear() = default;

std::uint64_t Linear::relocate(Arena& arena) {
  std::uint64_t moved = 0;
  for (std::size_t i = 0; i < impl_->terms.size(); ++i) {
    Blob& blob = impl_->weight.terms[i].blob;
    const std::byte* before = blob.bytes.data();
    blob = arena.place(std::move(blob));
    const std::byte* data = blob.bytes.data();
    if (data == before) continue;
    if (auto* integer = std::get_if<IntWeight>(&impl_->terms[i])) integer->blob = data;
    if (auto* dense = std::get_if<DenseWeight>(&impl_->terms[i])) dense->data = data;
    if (auto* csr = std::get_if<CsrWeight>(&impl_->terms[i])) csr->blob = data;
    if (auto* lowrank = std::get_if<LowRankWeight>(&impl_->terms[i])) lowrank->inner.blob = lowrank->outer.blob = data;
    if (auto* ternary = std::get_if<TernaryWeight>(&impl_->terms[i])) ternary->blob = data;
    if (auto* signs = std::get_if<SignWeight>(&impl_->terms[i])) signs->inner.blob = signs->outer.blob = data;
    if (auto* some = std::get_if<RowsWeight>(&impl_->terms[i])) {
      some->index = data;
      some->codes.blob = data + some->codes_at;
    }
    moved += blob.bytes.size();
  }
  return moved;
}

std::int64_t Linear::rows() const {
  return impl_->weight.rows;
}
std::int64_t Linear::cols() const {
  return impl_->weight.cols;
}
std::int64_t Linear::components() const {
  return impl_->components + kPanelRows * impl_->row_panels;
}
const CodedWeight& Linear::weight() const {
  return impl_->weight;
}
std::uint64_t Linear::bytes_read() const {
  std::uint64_t total = impl_->weight.input.blob.bytes.size();
  for (const Term& term : impl_->weight.terms) total += term.blob.bytes.size();
  return total;
}

}  // namespace sparing::kernels
