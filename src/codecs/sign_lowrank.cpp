#include "codecs/sign_lowrank.h"

#include <cmath>

#include "base/checked.h"
#include "codecs/planes.h"

namespace sparing {

Result<SignLowRankLayout> layout_of(const SignLowRankSpec& spec, std::int64_t rows, std::int64_t cols) {
  SPARING_CHECK_OK(validate(CodecSpec(spec), rows, cols));
  SignLowRankLayout l;
  l.panels = static_cast<std::int64_t>(ceil_div(static_cast<std::uint64_t>(rows), kFactorLanes));
  l.steps = static_cast<std::int64_t>(ceil_div(static_cast<std::uint64_t>(cols), kFactorLanes));
  Sections sections;
  const auto tiles = checked_mul(static_cast<std::uint64_t>(l.panels), static_cast<std::uint64_t>(l.steps));
  l.signs = sections.add(tiles.value_or(~0ull), 2 * kFactorLanes);
  l.factors = append_factors(spec.magnitude, rows, cols, sections);
  l.total = sections.end();
  if (sections.overflow())
    return input_error("[sign_lowrank] a matrix of " + std::to_string(rows) + " x " + std::to_string(cols) +
                       ": its size overflows; the file is broken");
  return l;
}

Result<Term> pack(const SignLowRankSpec& spec, std::int64_t rows, std::int64_t cols,
                  const std::vector<std::uint8_t>& minus, const FactorParts& inner, const FactorParts& outer) {
  SPARING_TRY(const SignLowRankLayout l, layout_of(spec, rows, cols));
  if (minus.size() != static_cast<std::size_t>(rows * cols))
    return internal_error("[pack sign_lowrank] " + std::to_string(minus.size()) + " signs: needs " +
                          std::to_string(rows) + " x " + std::to_string(cols));
  Buffer buffer(l.total);
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t step = 0; step < l.steps; ++step) {
      std::uint32_t bits = 0;
      for (std::int64_t i = 0; i < kFactorLanes && step * kFactorLanes + i < cols; ++i)
        if (minus[static_cast<std::size_t>(r * cols + step * kFactorLanes + i)] != 0) bits |= 1u << i;
      const std::int64_t at = (r / kFactorLanes * l.steps + step) * kFactorLanes + r % kFactorLanes;
      store_u16(buffer.data() + l.signs + static_cast<std::uint64_t>(2 * at), static_cast<std::uint16_t>(bits));
    }
  SPARING_CHECK_OK(write_factors(spec.magnitude, l.factors, rows, cols, inner, outer, buffer.data()));
  return Term{spec, Blob::of(std::move(buffer))};
}

bool is_minus(const SignLowRankLayout& l, const std::byte* blob, std::int64_t row, std::int64_t col) {
  const std::int64_t at = (row / kFactorLanes * l.steps + col / kFactorLanes) * kFactorLanes + row % kFactorLanes;
  return ((load_u16(blob + l.signs + static_cast<std::uint64_t>(2 * at)) >> (col % kFactorLanes)) & 1) != 0;
}

void add_sign_lowrank_rows(const SignLowRankSpec& spec, std::int64_t rows, std::int64_t cols, const std::byte* blob,
                           std::int64_t row, std::int64_t count, float* out) {
  const SignLowRankLayout l = *layout_of(spec, rows, cols);
  const LowRankSpec& s = spec.magnitude;
  const std::vector<float> inner = decode_factor(s.inner, l.factors.inner, s.rank, blob, cols);
  std::vector<float> magnitude(static_cast<std::size_t>(cols));
  float lanes[kFactorLanes];
  for (std::int64_t r = row; r < row + count; ++r) {
    std::fill(magnitude.begin(), magnitude.end(), 0.0f);
    for (std::int64_t k = 0; k < s.rank; ++k) {
      decode_lanes(s.outer, l.factors.outer, s.rank, blob, r / kFactorLanes, k, lanes);
      const float u = lanes[r % kFactorLanes];
      const float* v = inner.data() + k * cols;
      for (std::int64_t c = 0; c < cols; ++c) {
        float& m = magnitude[static_cast<std::size_t>(c)];
        m = std::fma(u, v[c], m);
      }
    }
    for (std::int64_t c = 0; c < cols; ++c) {
      const float m = magnitude[static_cast<std::size_t>(c)];
      out[(r - row) * cols + c] += is_minus(l, blob, r, c) ? -m : m;
    }
  }
}

// |U'V|^2 = sum over pairs of components of (u_k u_l) (v_k v_l).
double sign_lowrank_squares(const SignLowRankSpec& spec, std::int64_t rows, std::int64_t cols, const std::byte* blob) {
  const SignLowRankLayout l = *layout_of(spec, rows, cols);
  const LowRankSpec& s = spec.magnitude;
  const auto products = [&](const FactorSpec& factor, const FactorLayout& layout, std::int64_t n) {
    const std::vector<float> values = decode_factor(factor, layout, s.rank, blob, n);
    std::vector<double> sums;
    for (std::int64_t k = 0; k < s.rank; ++k)
      for (std::int64_t j = 0; j < s.rank; ++j) {
        double sum = 0;
        for (std::int64_t i = 0; i < n; ++i)
          sum += static_cast<double>(values[static_cast<std::size_t>(k * n + i)]) *
                 static_cast<double>(values[static_cast<std::size_t>(j * n + i)]);
        sums.push_back(sum);
      }
    return sums;
  };
  const std::vector<double> inner = products(s.inner, l.factors.inner, cols),
                            outer = products(s.outer, l.factors.outer, rows);
  double sum = 0;
  for (std::size_t i = 0; i < inner.size(); ++i) sum += inner[i] * outer[i];
  return sum;
}

Status validate_sign_lowrank_values(const SignLowRankSpec& spec, std::int64_t rows, std::int64_t cols, Bytes blob) {
  SPARING_TRY(const SignLowRankLayout l, layout_of(spec, rows, cols));
  return validate_factors("sign_lowrank", spec.magnitude, l.factors, blob);
}

}  // namespace sparing
