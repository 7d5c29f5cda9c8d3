#include "lab/moments.h"

#include <ATen/ops/from_blob.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

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

/// The sum of products(first row, rows) -> left [rows, m], right [rows, n]: left' right.
std::vector<float> sum_there(
    const CalibrationText& text, std::int64_t m, std::int64_t n, std::initializer_list<const ActivationMatrix*> used,
    const std::function<std::pair<at::Tensor, at::Tensor>(const std::function<at::Tensor(const ActivationMatrix&)>&)>&
        products) {
  const c10::InferenceMode inference;
  const at::Tensor sum = at::zeros({m, n}, at::TensorOptions(at::kFloat).device(text.device));
  by_batch(text, used, [&](std::int64_t row, std::int64_t rows) {
    const auto [left, right] = products([&](const ActivationMatrix& matrix) {
      return at::from_blob(matrix.row(row), {rows, matrix.width()}, at::kFloat).to(text.device);
    });
    sum.addmm_(left.t(), right);
  });
  std::vector<float> here(static_cast<std::size_t>(m * n));
  at::from_blob(here.data(), {m, n}, at::kFloat).copy_(sum);
  return here;
}

}  // namespace

std::vector<float> second_moment(const CalibrationText& text, const ActivationMatrix& x, ThreadPool& pool) {
  const std::int64_t width = x.width();
  if (!text.device.is_cpu())
    return sum_there(text, width, width, {&x}, [&](const auto& there) {
      const at::Tensor rows = there(x);
      return std::pair(rows, rows);
    });
  std::vector<float> sum(static_cast<std::size_t>(width * width));
  by_batch(text, {&x}, [&](std::int64_t row, std::int64_t rows) {
    math::add_gram(rows, width, x.row(row), width, sum.data(), pool);
  });
  math::mirror_upper(width, sum.data());
  return sum;
}

std::vector<float> damage_by_input(const CalibrationText& text, const ActivationMatrix& a, const ActivationMatrix& b,
                                   const ActivationMatrix& x, ThreadPool& pool) {
  const std::int64_t m = a.width(), n = x.width();
  if (!text.device.is_cpu())
    return sum_there(text, m, n, {&a, &b, &x},
                     [&](const auto& there) { return std::pair(there(a) - there(b), there(x)); });
  std::vector<float> sum(static_cast<std::size_t>(m * n)), difference;
  by_batch(text, {&a, &b, &x}, [&](std::int64_t row, std::int64_t rows) {
    difference.resize(static_cast<std::size_t>(rows * m));
    const float *of_a = a.row(row), *of_b = b.row(row);
    for (std::size_t i = 0; i < difference.size(); ++i) difference[i] = of_a[i] - of_b[i];
    math::gemm<float>(m, n, rows, 1.0f, math::transposed(static_cast<const float*>(difference.data()), m),
                      math::rows_of(static_cast<const float*>(x.row(row)), n), sum.data(), n, pool);
  });
  return sum;
}

}  // namespace sparing::lab
