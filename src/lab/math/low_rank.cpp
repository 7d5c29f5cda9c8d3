#include "lab/math/low_rank.h"

#include <algorithm>
#include <cmath>

#include "codecs/lowrank.h"
#include "lab/math/cholesky.h"
#include "lab/math/eigen.h"
#include "lab/math/gemm.h"
#include "tensor/half.h"

namespace sparing::math {
namespace {

std::vector<double> widened(std::span<const float> values) {
  return {values.begin(), values.end()};
}

/// The leading left singular vectors of W H^1/2 by way of the smaller of the two Gram matrices, [rank, rows].
Result<std::vector<double>> left_vectors(std::span<const float> weight, std::int64_t rows, std::int64_t cols,
                                         std::span<const float> h, std::int64_t rank, std::vector<double>& energy,
                                         ThreadPool& pool) {
  const std::vector<double> w = widened(weight);
  std::vector<double> root, whitened;  // H = root root', whitened = W root
  const double* white = w.data();
  if (!h.empty()) {
    root = widened(h);
    if (!factor_reversed<double>(cols, root.data(), pool))
      return internal_error("[low rank] the metric is not positive definite");
    for (std::int64_t i = 0; i < cols; ++i) std::fill_n(root.begin() + i * cols, i, 0.0);
    whitened.assign(w.size(), 0.0);
    gemm<double>(rows, cols, cols, 1.0, rows_of(w.data(), cols), rows_of<double>(root.data(), cols), whitened.data(),
                 cols, pool);
    white = whitened.data();
  }
  const bool outputs = rows <= cols;
  const std::int64_t n = outputs ? rows : cols;
  std::vector<double> gram(static_cast<std::size_t>(n * n));
  if (outputs) {
    gemm<double>(n, n, cols, 1.0, rows_of(white, cols), transposed(white, cols), gram.data(), n, pool, Part::upper);
  } else {
    gemm<double>(n, n, rows, 1.0, transposed(white, cols), rows_of(white, cols), gram.data(), n, pool, Part::upper);
  }
  mirror_upper<double>(n, gram.data());
  const Eigen eigen = symmetric_eigen(n, gram, rank, pool);
  if (!std::isfinite(eigen.values[0]))
    return input_error("[low rank] a matrix of " + std::to_string(rows) + " x " + std::to_string(cols) +
                       ": its squares overflow; the model is damaged, check it with `sparing verify`");
  energy.assign(eigen.values.begin(), eigen.values.begin() + rank);
  for (double& e : energy) e = std::max(e, 0.0);
  std::vector<double> left(static_cast<std::size_t>(rank * rows));
  if (outputs) {
    std::copy_n(eigen.vectors.begin(), left.size(), left.begin());
  } else {
    gemm<double>(rank, rows, cols, 1.0, rows_of(eigen.vectors.data(), cols), transposed(white, cols), left.data(), rows,
                 pool);
  }
  for (std::int64_t k = 0; k < rank; ++k) {
    double* const u = left.data() + k * rows;
    double size = 0;
    for (std::int64_t r = 0; r < rows; ++r) size += u[r] * u[r];
    // Beyond the matrix's own rank there is only rounding.
    const bool some = energy[static_cast<std::size_t>(k)] > 1e-13 * energy[0] && size > 0;
    for (std::int64_t r = 0; r < rows; ++r) u[r] = some ? u[r] / std::sqrt(size) : 0.0;
  }
  return left;
}

/// f16 bits of all values. Error: one that does not fit.
Result<FactorParts> halves_of(std::span<const float> values) {
  FactorParts parts;
  for (const float v : values) {
    const std::uint16_t bits = f32_to_f16(v);
    if ((bits & 0x7C00u) == 0x7C00u)
      return input_error("[low rank] a factor holds " + std::to_string(v) +
                         ": beyond f16; the model is damaged, check it with `sparing verify`");
    parts.codes.push_back(bits);
  }
  return parts;
}

IntGrid grid_of(const FactorSpec& spec, std::int64_t rank, std::int64_t n) {
  const IntGroupSpec integers{.bits = spec.bits, .groups = {.group = spec.group}, .zero_offset = 1 << (spec.bits - 1)};
  return {integers, rank, n, Clip::mse};
}

Result<FactorParts> parts_of(const IntGrid& grid) {
  SPARING_CHECK_OK(grid.pack());
  FactorParts parts;
  for (std::int64_t k = 0; k < grid.rows(); ++k) {
    for (std::int64_t i = 0; i < grid.cols(); ++i) parts.codes.push_back(grid.code_at(k, i));
    for (std::int64_t g = 0; g < grid.groups(); ++g) parts.scales.push_back(f32_to_f16(grid.line(k, g).scale));
  }
  return parts;
}

/// Rounds outer; `values` receives what it has become.
Result<FactorParts> code_outer(const FactorSpec& spec, std::int64_t rank, std::int64_t rows, std::vector<float>& values,
                               ThreadPool& pool) {
  if (spec.bits == 16) {
    SPARING_TRY(FactorParts parts, halves_of(values));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = f16_to_f32(parts.codes[i]);
    return parts;
  }
  IntGrid grid = grid_of(spec, rank, rows);
  round_to_nearest(grid, values, {}, pool);
  for (std::int64_t k = 0; k < rank; ++k) grid.decode_row(k, values.data() + k * rows);
  return parts_of(grid);
}

/// (outer outer')^-1 outer W: the best inner factor to an outer one, in every metric.
std::vector<float> fitted_inner(std::span<const float> outer, std::int64_t rank, std::span<const float> weight,
                                std::int64_t rows, std::int64_t cols, ThreadPool& pool) {
  const std::vector<double> u = widened(outer), w = widened(weight);
  std::vector<double> gram(static_cast<std::size_t>(rank * rank)), right(static_cast<std::size_t>(rank * cols));
  gemm<double>(rank, rank, rows, 1.0, rows_of(u.data(), rows), transposed(u.data(), rows), gram.data(), rank, pool);
  gemm<double>(rank, cols, rows, 1.0, rows_of(u.data(), rows), rows_of(w.data(), cols), right.data(), cols, pool);
  double mean = 0;
  for (std::int64_t k = 0; k < rank; ++k) mean += gram[static_cast<std::size_t>(k * (rank + 1))];
  // Components of zeros get inner rows of zeros.
  for (std::int64_t k = 0; k < rank; ++k)
    gram[static_cast<std::size_t>(k * (rank + 1))] += 1e-9 * mean / static_cast<double>(rank) + 1e-30;
  std::vector<float> inner(static_cast<std::size_t>(rank * cols));
  if (!factor_reversed<double>(rank, gram.data(), pool)) return inner;
  // gram = R R': first R y = right, from the last component, then R' x = y, from the first; columns side by side.
  for (std::int64_t k = rank - 1; k >= 0; --k) {
    double* const row = right.data() + k * cols;
    for (std::int64_t j = k + 1; j < rank; ++j) {
      const double factor = gram[static_cast<std::size_t>(k * rank + j)];
      for (std::int64_t c = 0; c < cols; ++c) row[c] -= factor * right[static_cast<std::size_t>(j * cols + c)];
    }
    for (std::int64_t c = 0; c < cols; ++c) row[c] /= gram[static_cast<std::size_t>(k * (rank + 1))];
  }
  for (std::int64_t k = 0; k < rank; ++k) {
    double* const row = right.data() + k * cols;
    for (std::int64_t j = 0; j < k; ++j) {
      const double factor = gram[static_cast<std::size_t>(j * rank + k)];
      for (std::int64_t c = 0; c < cols; ++c) row[c] -= factor * right[static_cast<std::size_t>(j * cols + c)];
    }
    for (std::int64_t c = 0; c < cols; ++c) row[c] /= gram[static_cast<std::size_t>(k * (rank + 1))];
  }
  std::transform(right.begin(), right.end(), inner.begin(), [](double v) { return static_cast<float>(v); });
  return inner;
}

Result<FactorParts> code_inner(const FactorSpec& spec, std::int64_t rank, const Metric& metric,
                               std::span<const float> values, ThreadPool& pool) {
  if (spec.bits == 16) return halves_of(values);
  IntGrid grid = grid_of(spec, rank, metric.cols);
  round_to_nearest(grid, values, metric.diagonal, pool);
  std::vector<float> decoded(values.size());
  code_with_feedback(values, rank, metric, {}, grid, decoded, pool);
  return parts_of(grid);
}

}  // namespace

Result<CodedFactors> code_scaled_factors(const LowRankSpec& spec, std::span<const float> scaled, std::int64_t rows,
                                         std::span<const float> scales, const LowRank& factors, ThreadPool& pool) {
  const auto cols = static_cast<std::int64_t>(scales.size());
  CodedFactors coded;
  std::vector<float> outer = factors.outer;
  SPARING_TRY(coded.outer, code_outer(spec.outer, factors.rank, rows, outer, pool));
  std::vector<float> inner = fitted_inner(outer, factors.rank, scaled, rows, cols, pool), weights;
  for (std::size_t i = 0; i < inner.size(); ++i) inner[i] /= scales[i % scales.size()];
  for (const float s : scales) weights.push_back(s * s);
  if (spec.inner.bits == 16) {
    SPARING_TRY(coded.inner, halves_of(inner));
    return coded;
  }
  IntGrid grid = grid_of(spec.inner, factors.rank, cols);
  round_to_nearest(grid, inner, weights, pool);
  SPARING_TRY(coded.inner, parts_of(grid));
  return coded;
}

Result<LowRank> best_low_rank(std::span<const float> weight, std::int64_t rows, std::int64_t cols,
                              std::span<const float> h, std::int64_t rank, ThreadPool& pool) {
  LowRank result;
  result.rank = rank;
  SPARING_TRY(const std::vector<double> left, left_vectors(weight, rows, cols, h, rank, result.energy, pool));
  result.outer.assign(left.begin(), left.end());
  const std::vector<double> w = widened(weight);
  std::vector<double> inner(static_cast<std::size_t>(rank * cols));
  gemm<double>(rank, cols, rows, 1.0, rows_of(left.data(), rows), rows_of(w.data(), cols), inner.data(), cols, pool);
  result.inner.assign(inner.begin(), inner.end());
  return result;
}

Result<Term> code_low_rank(const LowRankSpec& spec, std::span<const float> weight, std::int64_t rows,
                           const Metric& metric, const LowRank& factors, ThreadPool& pool) {
  std::vector<float> outer = factors.outer;
  SPARING_TRY(const FactorParts coded_outer, code_outer(spec.outer, factors.rank, rows, outer, pool));
  const std::vector<float> inner = fitted_inner(outer, factors.rank, weight, rows, metric.cols, pool);
  SPARING_TRY(const FactorParts coded_inner, code_inner(spec.inner, factors.rank, metric, inner, pool));
  return pack(spec, rows, metric.cols, coded_inner, coded_outer);
}

}  // namespace sparing::math
