#include "lab/math/continuous.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "codecs/csr.h"
#include "codecs/int_group.h"
#include "codecs/sign_lowrank.h"
#include "codecs/transform.h"
#include "lab/math/simd.h"
#include "tensor/half.h"

namespace sparing::math {
namespace {

constexpr float kMostF16 = 65504.0f;
constexpr std::int64_t kPanel = 16;

std::uint16_t load(const std::byte* at) {
  std::uint16_t bits;
  std::memcpy(&bits, at, sizeof bits);
  return bits;
}

IntGroupSpec grouped_spec(const CodecSpec& spec) {
  const auto* lut = std::get_if<LutGroupSpec>(&spec);
  return lut != nullptr ? as_int_group(*lut) : std::get<IntGroupSpec>(spec);
}

/// Of a term that is two factors.
std::optional<LowRankSpec> factored_spec(const CodecSpec& spec) {
  if (const auto* lowrank = std::get_if<LowRankSpec>(&spec)) return *lowrank;
  if (const auto* signs = std::get_if<SignLowRankSpec>(&spec)) return signs->magnitude;
  return std::nullopt;
}
Result<LowRankLayout> factors_of(const CodecSpec& spec, std::int64_t rows, std::int64_t cols) {
  if (const auto* lowrank = std::get_if<LowRankSpec>(&spec)) return layout_of(*lowrank, rows, cols);
  SPARING_TRY(const SignLowRankLayout layout, layout_of(std::get<SignLowRankSpec>(spec), rows, cols));
  return layout.factors;
}

std::uint64_t place(std::uint64_t section, std::int64_t per_row, std::int64_t row, std::int64_t index) {
  return section + static_cast<std::uint64_t>(((row / kPanel * per_row + index) * kPanel + row % kPanel) * 2);
}

}  // namespace

std::uint64_t ContinuousWeight::Factor::place(std::int64_t component, std::int64_t index) const {
  if (spec.bits != 16) return layout.scales + static_cast<std::uint64_t>(2 * (index * rank + component));
  const std::int64_t lane = index / kFactorLanes * rank + component;
  return layout.codes + static_cast<std::uint64_t>(lane * layout.lane_bytes + 2 * (index % kFactorLanes));
}

struct ContinuousWeight::Scratch {
  std::vector<std::uint8_t> codes, scale_codes, minimum_codes;
  std::vector<float> values, ones, transformed;
  std::map<std::size_t, std::vector<float>> inner;  ///< factors, decoded, by term
};

Result<ContinuousWeight> ContinuousWeight::make(const CodedWeight& weight) {
  ContinuousWeight out;
  out.weight_ = weight;
  const auto section = [&](std::uint64_t at, std::int64_t per_row, std::int64_t count) {
    const Section made{at, per_row, out.size_};
    out.size_ += count;
    return made;
  };
  for (std::size_t t = 0; t < weight.terms.size(); ++t) {
    const CodecSpec& spec = weight.terms[t].spec;
    Part part;
    part.term = t;
    if (const auto* csr = std::get_if<CsrSpec>(&spec)) {
      SPARING_TRY(const CsrLayout layout, layout_of(*csr, weight.rows, weight.cols));
      part.scales = section(layout.values, 0, csr->nonzeros);
    } else if (std::holds_alternative<IntGroupSpec>(spec) || std::holds_alternative<LutGroupSpec>(spec)) {
      const IntGroupSpec grouped = grouped_spec(spec);
      SPARING_TRY(const IntGroupLayout l, layout_of(grouped, weight.rows, weight.cols));
      const bool coded = grouped.groups.scale == ScaleKind::coded;
      const std::int64_t scales = coded ? l.supers : l.groups;
      part.scales = section(coded ? l.scale_supers : l.scales, scales, scales * weight.rows);
      if (grouped.zero == ZeroKind::f16_min) part.minima = section(l.zeros, l.groups, l.groups * weight.rows);
      if (grouped.zero == ZeroKind::coded_min) part.minima = section(l.zero_supers, l.supers, l.supers * weight.rows);
    } else if (const auto factored = factored_spec(spec)) {
      SPARING_TRY(const LowRankLayout l, factors_of(spec, weight.rows, weight.cols));
      for (const bool outer : {false, true}) {
        Factor factor{outer ? factored->outer : factored->inner, outer ? l.outer : l.inner, factored->rank,
                      outer ? weight.rows : weight.cols, out.size_};
        out.size_ += factor.rank * factor.each();
        part.factors.push_back(factor);
      }
    } else {
      continue;
    }
    Buffer copy(weight.terms[t].blob.bytes.size());
    std::ranges::copy(weight.terms[t].blob.bytes, copy.data());
    part.blob = copy.data();
    out.weight_.terms[t].blob = Blob::of(std::move(copy));
    out.parts_.push_back(part);
  }
  return out;
}

template <class F>
void ContinuousWeight::for_parameters(F f) const {
  for (const Part& part : parts_) {
    if (const auto* csr = std::get_if<CsrSpec>(&weight_.terms[part.term].spec)) {
      for (std::int64_t i = 0; i < csr->nonzeros; ++i) {
        f(part, part.scales, 0, i, part.blob + part.scales.at + 2 * static_cast<std::uint64_t>(i),
          static_cast<std::size_t>(part.scales.first + i));
      }
      continue;
    }
    for (const Factor& factor : part.factors) {
      for (std::int64_t k = 0; k < factor.rank; ++k) {
        for (std::int64_t i = 0; i < factor.each(); ++i) {
          f(part, part.scales, 0, i, part.blob + factor.place(k, i),
            static_cast<std::size_t>(factor.first + k * factor.each() + i));
        }
      }
    }
    for (const Section* section : {&part.scales, &part.minima}) {
      for (std::int64_t row = 0; row < weight_.rows; ++row) {
        for (std::int64_t i = 0; i < section->per_row; ++i) {
          f(part, *section, row, i, part.blob + place(section->at, section->per_row, row, i),
            static_cast<std::size_t>(section->first + row * section->per_row + i));
        }
      }
    }
  }
}

std::vector<float> ContinuousWeight::parameters() const {
  std::vector<float> values(static_cast<std::size_t>(size_));
  for_parameters([&](const Part&, const Section&, std::int64_t, std::int64_t, const std::byte* at, std::size_t i) {
    values[i] = f16_to_f32(load(at));
  });
  return values;
}

std::vector<float> ContinuousWeight::units() const {
  std::vector<float> units = parameters();
  for (float& unit : units) unit = std::abs(unit);
  for (const Part& part : parts_) {
    for (const Factor& factor : part.factors) {
      if (factor.spec.bits != 16) continue;
      for (std::int64_t k = 0; k < factor.rank; ++k) {
        const std::span<float> component(units.data() + factor.first + k * factor.n,
                                         static_cast<std::size_t>(factor.n));
        double squares = 0;
        for (const float u : component) squares += static_cast<double>(u) * static_cast<double>(u);
        std::ranges::fill(component, static_cast<float>(std::sqrt(squares / static_cast<double>(factor.n))));
      }
    }
    const auto* integer = std::get_if<IntGroupSpec>(&weight_.terms[part.term].spec);
    if (integer == nullptr || integer->zero != ZeroKind::f16_min) continue;
    const auto top = static_cast<float>((1 << integer->bits) - 1);
    const IntGroupLayout layout = *layout_of(*integer, weight_.rows, weight_.cols);
    for (std::int64_t row = 0; row < weight_.rows; ++row) {
      for (std::int64_t g = 0; g < layout.groups; ++g) {
        units[static_cast<std::size_t>(part.minima.first + row * layout.groups + g)] =
            std::abs(group_values(*integer, layout, part.blob, row, g).scale) * top / 2;
      }
    }
  }
  return units;
}

void ContinuousWeight::set(std::span<const float> parameters) {
  for_parameters([&](const Part&, const Section&, std::int64_t, std::int64_t, std::byte* at, std::size_t i) {
    const std::uint16_t bits = f32_to_f16(std::clamp(parameters[i], -kMostF16, kMostF16));
    std::memcpy(at, &bits, sizeof bits);
  });
}

void ContinuousWeight::add_grouped(const Part& part, std::int64_t row, const float* gradient, std::span<float> sum,
                                   Scratch& scratch) const {
  const CodecSpec& stored = weight_.terms[part.term].spec;
  const IntGroupSpec spec = grouped_spec(stored);
  const IntGroupLayout layout = *layout_of(spec, weight_.rows, weight_.cols);
  const std::int64_t cols = weight_.cols, width = std::min<std::int64_t>(spec.groups.group, cols);
  scratch.codes.resize(static_cast<std::size_t>(cols + 3));
  scratch.values.resize(static_cast<std::size_t>(cols));
  scratch.ones.resize(static_cast<std::size_t>(width), 1.0f);
  read_codes(spec, layout, part.blob, cols, row, scratch.codes.data());
  if (const auto* lut = std::get_if<LutGroupSpec>(&stored)) {
    for (std::size_t c = 0; c < scratch.values.size(); ++c) scratch.values[c] = lut->table[scratch.codes[c]];
  } else {
    for (std::size_t c = 0; c < scratch.values.size(); ++c) scratch.values[c] = static_cast<float>(scratch.codes[c]);
  }
  const bool coded = spec.groups.scale == ScaleKind::coded, coded_min = spec.zero == ZeroKind::coded_min;
  if (coded) {
    scratch.scale_codes.resize(static_cast<std::size_t>(layout.groups));
    scratch.minimum_codes.resize(static_cast<std::size_t>(layout.groups));
    read_scale_codes(spec, layout, part.blob, row, 0, layout.groups, scratch.scale_codes.data(),
                     scratch.minimum_codes.data());
  }
  const Simd& lanes = simd();
  for (std::int64_t g = 0; g < layout.groups; ++g) {
    const std::int64_t begin = g * width, count = std::min(cols - begin, width);
    const float by_code = lanes.dot(count, gradient + begin, scratch.values.data() + begin);
    const float total = lanes.dot(count, gradient + begin, scratch.ones.data());
    const GroupValues group = group_values(spec, layout, part.blob, row, g);
    const float by_scale = by_code - static_cast<float>(group.zero) * total;
    const std::int64_t super = coded || coded_min ? g / spec.groups.super : 0;
    const auto at = [&](const Section& section, std::int64_t index) {
      return static_cast<std::size_t>(section.first + row * section.per_row + index);
    };
    if (coded) {
      const int code = scratch.scale_codes[static_cast<std::size_t>(g)] - spec.groups.scale_offset;
      sum[at(part.scales, super)] += by_scale * static_cast<float>(code);
    } else {
      sum[at(part.scales, g)] += by_scale;
    }
    if (spec.zero == ZeroKind::f16_min) sum[at(part.minima, g)] += total;
    if (coded_min) {
      // The minimum is -(dm * code), whatever its scale is.
      const float dm = f16_to_f32(super_bits(layout, part.blob, layout.zero_supers, row, super));
      const auto code = coded ? static_cast<float>(scratch.minimum_codes[static_cast<std::size_t>(g)])
                              : (dm != 0.0f ? std::round(-group.minimum / dm) : 0.0f);
      sum[at(part.minima, super)] -= total * code;
    }
  }
}

void ContinuousWeight::add_sparse(const Part& part, std::int64_t row, const float* gradient,
                                  std::span<float> sum) const {
  const auto& spec = std::get<CsrSpec>(weight_.terms[part.term].spec);
  const CsrLayout layout = *layout_of(spec, weight_.rows, weight_.cols);
  std::uint32_t range[2];
  std::memcpy(range, part.blob + layout.row_start + 4 * static_cast<std::uint64_t>(row), sizeof range);
  for (std::uint32_t i = range[0]; i < range[1]; ++i) {
    std::uint32_t column = 0;
    if (spec.wide_index) {
      std::memcpy(&column, part.blob + layout.columns + 4 * std::uint64_t{i}, 4);
    } else {
      column = load(part.blob + layout.columns + 2 * std::uint64_t{i});
    }
    sum[static_cast<std::size_t>(part.scales.first) + i] += gradient[column];
  }
}

// For a value u v (or minus that): du = sum of dw v over the row, dv = dw u; a scale's is the sum of its values' over
// itself.
void ContinuousWeight::add_factors(const Part& part, std::int64_t row, const float* gradient, std::span<float> sum,
                                   Scratch& scratch) const {
  const Factor &inner = part.factors[0], &outer = part.factors[1];
  const std::int64_t cols = weight_.cols;
  std::vector<float>& values = scratch.inner[part.term];
  if (values.empty()) values = decode_factor(inner.spec, inner.layout, inner.rank, part.blob, cols);
  if (const auto* signs = std::get_if<SignLowRankSpec>(&weight_.terms[part.term].spec)) {
    const SignLowRankLayout layout = *layout_of(*signs, weight_.rows, cols);
    scratch.values.resize(static_cast<std::size_t>(cols));
    for (std::int64_t c = 0; c < cols; ++c)
      scratch.values[static_cast<std::size_t>(c)] = is_minus(layout, part.blob, row, c) ? -gradient[c] : gradient[c];
    gradient = scratch.values.data();
  }
  const Simd& lanes = simd();
  const auto stored = [&](const Factor& factor, std::int64_t k, std::int64_t g) {
    return f16_to_f32(load(part.blob + factor.place(k, g)));
  };
  float panel[kFactorLanes];
  for (std::int64_t k = 0; k < inner.rank; ++k) {
    decode_lanes(outer.spec, outer.layout, outer.rank, part.blob, row / kFactorLanes, k, panel);
    const float u = panel[row % kFactorLanes];
    const float* v = values.data() + k * cols;
    float* by_inner = sum.data() + inner.first + k * inner.each();
    if (inner.spec.bits == 16) {
      for (std::int64_t c = 0; c < cols; ++c) by_inner[c] += u * gradient[c];
    } else {
      for (std::int64_t g = 0; g < inner.layout.groups; ++g) {
        const std::int64_t begin = g * inner.spec.group, count = std::min<std::int64_t>(inner.spec.group, cols - begin);
        const float scale = stored(inner, k, g);
        if (scale != 0) by_inner[g] += u * lanes.dot(count, gradient + begin, v + begin) / scale;
      }
    }
    const float by_value = lanes.dot(cols, gradient, v);
    float* by_outer = sum.data() + outer.first + k * outer.each();
    if (outer.spec.bits == 16) {
      by_outer[row] += by_value;
    } else {
      const std::int64_t g = row / outer.spec.group;
      const float scale = stored(outer, k, g);
      if (scale != 0) by_outer[g] += by_value * u / scale;
    }
  }
}

void ContinuousWeight::add_gradient(std::int64_t row, std::int64_t count, std::span<const float> gradient,
                                    std::span<float> sum) const {
  Scratch scratch;
  for (std::int64_t r = 0; r < count; ++r) {
    const float* by_row = gradient.data() + r * weight_.cols;
    if (weight_.input.kind != TransformKind::identity) {
      scratch.transformed.resize(static_cast<std::size_t>(weight_.cols));
      apply_transform(weight_.input, weight_.cols, by_row, scratch.transformed.data());
      by_row = scratch.transformed.data();
    }
    for (const Part& part : parts_) {
      if (std::holds_alternative<CsrSpec>(weight_.terms[part.term].spec)) {
        add_sparse(part, row + r, by_row, sum);
      } else if (!part.factors.empty()) {
        add_factors(part, row + r, by_row, sum, scratch);
      } else {
        add_grouped(part, row + r, by_row, sum, scratch);
      }
    }
  }
}

std::optional<TrainedCodes> ContinuousWeight::trained_codes() {
  for (const Part& part : parts_) {
    if (auto codes = TrainedCodes::make(weight_, part.term, part.blob)) return codes;
  }
  return std::nullopt;
}

}  // namespace sparing::math
