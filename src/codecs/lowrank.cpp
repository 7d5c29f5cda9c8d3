#include "codecs/lowrank.h"

#include <algorithm>

#include "base/checked.h"
#include "codecs/planes.h"
#include "codecs/sections.h"
#include "tensor/half.h"

namespace sparing {
namespace {

FactorLayout factor_layout(const FactorSpec& spec, std::int64_t rank, std::int64_t n, Sections& sections) {
  const auto length = static_cast<std::uint64_t>(n);
  const auto for_all = [&](std::int64_t count, std::int64_t bytes) {
    const auto all = checked_mul(static_cast<std::uint64_t>(count), static_cast<std::uint64_t>(rank));
    return sections.add(all.value_or(~0ull), static_cast<std::uint64_t>(bytes));
  };
  FactorLayout l;
  l.steps = static_cast<std::int64_t>(ceil_div(length, kFactorLanes));
  l.lane_bytes = 2 * spec.bits;
  l.groups = spec.bits == 16 ? 0 : static_cast<std::int64_t>(ceil_div(length, static_cast<std::uint64_t>(spec.group)));
  l.codes = for_all(l.steps, l.lane_bytes);
  l.scales = for_all(l.groups, 2);
  return l;
}

Status check_parts(const char* which, const FactorSpec& spec, const FactorLayout& l, std::int64_t rank, std::int64_t n,
                   const FactorParts& parts) {
  const std::string at = std::string("[pack lowrank] ") + which;
  if (parts.codes.size() != static_cast<std::size_t>(rank * n) ||
      parts.scales.size() != static_cast<std::size_t>(rank * l.groups))
    return internal_error(at + " has " + std::to_string(parts.codes.size()) + " values and " +
                          std::to_string(parts.scales.size()) + " scales: needs " + std::to_string(rank) + " x " +
                          std::to_string(n) + " and " + std::to_string(rank) + " x " + std::to_string(l.groups));
  const auto bad = std::ranges::find_if(parts.codes, [&](std::uint16_t c) { return (c >> spec.bits) != 0; });
  if (bad != parts.codes.end())
    return internal_error(at + " code " + std::to_string(*bad) + " does not fit " + std::to_string(spec.bits) +
                          " bits");
  return {};
}

void write_factor(const FactorSpec& spec, const FactorLayout& l, std::int64_t rank, std::int64_t n,
                  const FactorParts& parts, std::byte* blob) {
  const auto nothing = static_cast<std::uint16_t>(spec.bits == 16 ? 0 : 1 << (spec.bits - 1));
  for (std::int64_t step = 0; step < l.steps; ++step)
    for (std::int64_t k = 0; k < rank; ++k) {
      std::uint16_t lanes[kFactorLanes];
      for (int i = 0; i < kFactorLanes; ++i) {
        const std::int64_t at = step * kFactorLanes + i;
        lanes[i] = at < n ? parts.codes[static_cast<std::size_t>(k * n + at)] : nothing;
      }
      std::byte* to = blob + l.codes + static_cast<std::uint64_t>((step * rank + k) * l.lane_bytes);
      for (int i = 0; i < kFactorLanes; ++i) {
        if (spec.bits == 16) store_u16(to + 2 * i, lanes[i]);
        if (spec.bits == 8) to[i] = static_cast<std::byte>(lanes[i]);
        if (spec.bits == 4 && i < 8) to[i] = static_cast<std::byte>(lanes[i] | lanes[i + 8] << 4);
      }
    }
  for (std::int64_t g = 0; g < l.groups; ++g)
    for (std::int64_t k = 0; k < rank; ++k)
      store_u16(blob + l.scales + static_cast<std::uint64_t>(2 * (g * rank + k)),
                parts.scales[static_cast<std::size_t>(k * l.groups + g)]);
}

Status validate_factor_values(const char* codec, const char* which, const FactorSpec& spec, const FactorLayout& l,
                              std::int64_t rank, Bytes blob) {
  const bool halves = spec.bits == 16;
  const std::uint64_t from = halves ? l.codes : l.scales;
  const auto count = static_cast<std::uint64_t>(rank * (halves ? l.steps * kFactorLanes : l.groups));
  for (std::uint64_t i = 0; i < count; ++i)
    if ((load_u16(blob.data() + from + 2 * i) & 0x7C00u) == 0x7C00u)
      return input_error("[" + std::string(codec) + "] a " + (halves ? "value" : "scale") + " of the " + which +
                         " factor is not finite: the file is damaged");
  return {};
}

}  // namespace

LowRankLayout append_factors(const LowRankSpec& spec, std::int64_t rows, std::int64_t cols, Sections& sections) {
  LowRankLayout l;
  l.inner = factor_layout(spec.inner, spec.rank, cols, sections);
  l.outer = factor_layout(spec.outer, spec.rank, rows, sections);
  l.total = sections.end();
  return l;
}

Result<LowRankLayout> layout_of(const LowRankSpec& spec, std::int64_t rows, std::int64_t cols) {
  SPARING_CHECK_OK(validate(CodecSpec(spec), rows, cols));
  Sections sections;
  const LowRankLayout l = append_factors(spec, rows, cols, sections);
  if (sections.overflow())
    return input_error("[lowrank] rank " + std::to_string(spec.rank) + " of a matrix of " + std::to_string(rows) +
                       " x " + std::to_string(cols) + ": its size overflows; the file is broken");
  return l;
}

Result<Term> pack(const LowRankSpec& spec, std::int64_t rows, std::int64_t cols, const FactorParts& inner,
                  const FactorParts& outer) {
  SPARING_TRY(const LowRankLayout l, layout_of(spec, rows, cols));
  Buffer buffer(l.total);
  SPARING_CHECK_OK(write_factors(spec, l, rows, cols, inner, outer, buffer.data()));
  return Term{spec, Blob::of(std::move(buffer))};
}

Status write_factors(const LowRankSpec& spec, const LowRankLayout& l, std::int64_t rows, std::int64_t cols,
                     const FactorParts& inner, const FactorParts& outer, std::byte* blob) {
  SPARING_CHECK_OK(check_parts("inner", spec.inner, l.inner, spec.rank, cols, inner));
  SPARING_CHECK_OK(check_parts("outer", spec.outer, l.outer, spec.rank, rows, outer));
  write_factor(spec.inner, l.inner, spec.rank, cols, inner, blob);
  write_factor(spec.outer, l.outer, spec.rank, rows, outer, blob);
  return {};
}

void decode_lanes(const FactorSpec& spec, const FactorLayout& l, std::int64_t rank, const std::byte* blob,
                  std::int64_t step, std::int64_t component, float* out) {
  const std::byte* from = blob + l.codes + static_cast<std::uint64_t>((step * rank + component) * l.lane_bytes);
  if (spec.bits == 16) {
    for (int i = 0; i < kFactorLanes; ++i) out[i] = f16_to_f32(load_u16(from + 2 * i));
    return;
  }
  const std::int64_t group = step * kFactorLanes / spec.group;
  const float scale =
      f16_to_f32(load_u16(blob + l.scales + static_cast<std::uint64_t>(2 * (group * rank + component))));
  for (int i = 0; i < kFactorLanes; ++i) {
    const int code = spec.bits == 8 ? static_cast<int>(from[i]) : static_cast<int>(from[i % 8]) >> (i / 8 * 4) & 15;
    out[i] = scale * static_cast<float>(code - (1 << (spec.bits - 1)));
  }
}

std::vector<float> decode_factor(const FactorSpec& spec, const FactorLayout& l, std::int64_t rank,
                                 const std::byte* blob, std::int64_t n) {
  std::vector<float> values(static_cast<std::size_t>(rank * n));
  float lanes[kFactorLanes];
  for (std::int64_t step = 0; step < l.steps; ++step)
    for (std::int64_t k = 0; k < rank; ++k) {
      decode_lanes(spec, l, rank, blob, step, k, lanes);
      std::copy_n(lanes, std::min<std::int64_t>(kFactorLanes, n - step * kFactorLanes),
                  values.begin() + k * n + step * kFactorLanes);
    }
  return values;
}

void add_lowrank_rows(const LowRankSpec& spec, std::int64_t rows, std::int64_t cols, const std::byte* blob,
                      std::int64_t row, std::int64_t count, float* out) {
  const LowRankLayout l = *layout_of(spec, rows, cols);
  const std::vector<float> inner = decode_factor(spec.inner, l.inner, spec.rank, blob, cols);
  std::vector<float> sum(static_cast<std::size_t>(cols));
  float lanes[kFactorLanes];
  for (std::int64_t r = row; r < row + count; ++r) {
    std::ranges::fill(sum, 0.0f);
    for (std::int64_t k = 0; k < spec.rank; ++k) {
      decode_lanes(spec.outer, l.outer, spec.rank, blob, r / kFactorLanes, k, lanes);
      const float u = lanes[r % kFactorLanes];
      const float* v = inner.data() + k * cols;
      for (std::int64_t c = 0; c < cols; ++c) sum[static_cast<std::size_t>(c)] += u * v[c];
    }
    for (std::int64_t c = 0; c < cols; ++c) out[(r - row) * cols + c] += sum[static_cast<std::size_t>(c)];
  }
}

Status validate_factors(const char* codec, const LowRankSpec& spec, const LowRankLayout& l, Bytes blob) {
  SPARING_CHECK_OK(validate_factor_values(codec, "inner", spec.inner, l.inner, spec.rank, blob));
  return validate_factor_values(codec, "outer", spec.outer, l.outer, spec.rank, blob);
}

Status validate_lowrank_values(const LowRankSpec& spec, std::int64_t rows, std::int64_t cols, Bytes blob) {
  SPARING_TRY(const LowRankLayout l, layout_of(spec, rows, cols));
  return validate_factors("lowrank", spec, l, blob);
}

}  // namespace sparing
