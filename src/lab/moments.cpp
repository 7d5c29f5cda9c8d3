#include "lab/moments.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <cmath>
#include <functional>

#include "lab/math/gemm.h"

namespace sparing::lab {
namespace {

/// body(first row, rows) for each batch; the rows of `used` are let go of after it.
void by_batch(const CalibrationText& text, std::initializer_list<const ActivationMatrix*> used,
              const std::function<void(std::int64_t, std::int64_t)>& body) {
  for (const auto& [first, last] : text.batches) {
    const std::int64_t row = text.offsets[first], rows = text.offsets[last] - row;
    body(row, rows);
    for (const ActivationMatrix* matrix : used) matrix->rest(row, rows);
  }
}

/// Weights of tokens [row, row + rows), on the text's device.
at::Tensor column(const CalibrationText& text, std::span<const float> weights, std::int64_t row, std::int64_t rows) {
  return at::from_blob(const_cast<float*>(weights.data()) + row, {rows, 1}, at::kFloat).to(text.device);
}

/// The sum of products(of a batch, first row, rows) -> left [rows, m], right [rows, n]: left' right.
std::vector<float> sum_there(
    const CalibrationText& text, std::int64_t m, std::int64_t n, std::initializer_list<const ActivationMatrix*> used,
    const std::function<std::pair<at::Tensor, at::Tensor>(const std::function<at::Tensor(const ActivationMatrix&)>&,
                                                          std::int64_t row, std::int64_t rows)>& products) {
  const c10::InferenceMode inference;
  const at::Tensor sum = at::zeros({m, n}, at::TensorOptions(at::kFloat).device(text.device));
  by_batch(text, used, [&](std::int64_t row, std::int64_t rows) {
    const auto there = [&](const ActivationMatrix& matrix) {
      return at::from_blob(matrix.row(row), {rows, matrix.width()}, at::kFloat).to(text.device);
    };
    const auto [left, right] = products(there, row, rows);
    sum.addmm_(left.t(), right);
  });
  std::vector<float> here(static_cast<std::size_t>(m * n));
  at::from_blob(here.data(), {m, n}, at::kFloat).copy_(sum);
  return here;
}

}  // namespace

std::vector<float> second_moment(const CalibrationText& text, const ActivationMatrix& x, std::span<const float> weights,
                                 ThreadPool& pool) {
  const std::int64_t width = x.width();
  if (!text.device.is_cpu())
    return sum_there(text, width, width, {&x}, [&](const auto& there, std::int64_t row, std::int64_t count) {
      const at::Tensor rows = there(x);
      return std::pair(weights.empty() ? rows : rows * column(text, weights, row, count), rows);
    });
  std::vector<float> sum(static_cast<std::size_t>(width * width)), scaled;
  by_batch(text, {&x}, [&](std::int64_t row, std::int64_t rows) {
    const float* values = x.row(row);
    if (!weights.empty()) {
      scaled.resize(static_cast<std::size_t>(rows * width));
      for (std::int64_t t = 0; t < rows; ++t) {
        const float root = std::sqrt(weights[static_cast<std::size_t>(row + t)]);
        for (std::int64_t j = 0; j < width; ++j)
          scaled[static_cast<std::size_t>(t * width + j)] = root * values[t * width + j];
      }
      values = scaled.data();
    }
    math::add_gram(rows, width, values, width, sum.data(), pool);
  });
  math::mirror_upper(width, sum.data());
  return sum;
}

std::vector<float> damage_by_input(const CalibrationText& text, const ActivationMatrix& a, const ActivationMatrix& b,
                                   const ActivationMatrix& x, std::span<const float> weights, ThreadPool& pool) {
  const std::int64_t m = a.width(), n = x.width();
  if (!text.device.is_cpu())
    return sum_there(text, m, n, {&a, &b, &x}, [&](const auto& there, std::int64_t row, std::int64_t count) {
      const at::Tensor difference = there(a) - there(b);
      return std::pair(weights.empty() ? difference : difference * column(text, weights, row, count), there(x));
    });
  std::vector<float> sum(static_cast<std::size_t>(m * n)), difference;
  by_batch(text, {&a, &b, &x}, [&](std::int64_t row, std::int64_t rows) {
    difference.resize(static_cast<std::size_t>(rows * m));
    const float *of_a = a.row(row), *of_b = b.row(row);
    for (std::int64_t t = 0; t < rows; ++t) {
      const float weight = weights.empty() ? 1.0f : weights[static_cast<std::size_t>(row + t)];
      for (std::int64_t i = t * m; i < (t + 1) * m; ++i)
        difference[static_cast<std::size_t>(i)] = weight * (of_a[i] - of_b[i]);
    }
    math::gemm<float>(m, n, rows, 1.0f, math::transposed(static_cast<const float*>(difference.data()), m),
                      math::rows_of(static_cast<const float*>(x.row(row)), n), sum.data(), n, pool);
  });
  return sum;
}

}  // namespace sparing::lab
