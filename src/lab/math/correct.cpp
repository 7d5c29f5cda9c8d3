#include <algorithm>

#include "lab/math/gemm.h"
#include "lab/math/obq.h"
#include "lab/math/simd.h"

namespace sparing::math {
namespace {

constexpr std::int64_t kInputs = 64;  ///< of a block

}  // namespace

std::vector<float> corrected_target(std::span<const float> weight, std::int64_t rows, const Metric& metric,
                                    std::span<const float> input_damage, std::span<const float> residual_damage,
                                    float strength, ThreadPool& pool) {
  const std::int64_t n = metric.cols;
  std::vector<float> pull(weight.size());
  if (!residual_damage.empty()) pull.assign(residual_damage.begin(), residual_damage.end());
  if (!input_damage.empty())
    gemm<float>(rows, n, n, 1.0f, rows_of(weight.data(), n), rows_of(input_damage.data(), n), pull.data(), n, pool);
  // X N D N' = pull, in coding order.
  std::vector<float> x(pull.size());
  pool.parallel_for(rows, 1, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t at = first * n; at < last * n; at += n)
      for (std::int64_t j = 0; j < n; ++j)
        x[static_cast<std::size_t>(at + j)] =
            pull[static_cast<std::size_t>(at + metric.order[static_cast<std::size_t>(j)])];
  });
  std::vector<float>().swap(pull);
  const float* const feedback = metric.feedback.data();
  const auto& kernels = simd();
  // What other blocks say to a block of inputs is one product of all rows; the inputs of one block follow row by row.
  // First against N', from the last input.
  for (std::int64_t end = n; end > 0; end -= kInputs) {
    const std::int64_t begin = std::max<std::int64_t>(0, end - kInputs);
    gemm<float>(rows, end - begin, n - end, -1.0f, rows_of(static_cast<const float*>(x.data()) + end, n),
                transposed(feedback + begin * n + end, n), x.data() + begin, n, pool);
    pool.parallel_for(rows, 1, [&](std::int64_t first, std::int64_t last, int) {
      for (float* row = x.data() + first * n; row < x.data() + last * n; row += n)
        for (std::int64_t j = end - 2; j >= begin; --j)
          row[j] -= kernels.dot(end - j - 1, feedback + j * n + j + 1, row + j + 1);
    });
  }
  // Then against D N, from the first.
  for (std::int64_t begin = 0; begin < n; begin += kInputs) {
    const std::int64_t end = std::min(n, begin + kInputs);
    pool.parallel_for(rows, 1, [&](std::int64_t first, std::int64_t last, int) {
      for (float* row = x.data() + first * n; row < x.data() + last * n; row += n)
        for (std::int64_t j = begin; j < end; ++j) row[j] /= metric.pivots[static_cast<std::size_t>(j)];
    });
    gemm<float>(rows, end - begin, begin, -1.0f, rows_of(static_cast<const float*>(x.data()), n),
                rows_of(feedback + begin, n), x.data() + begin, n, pool);
    pool.parallel_for(rows, 1, [&](std::int64_t first, std::int64_t last, int) {
      for (float* row = x.data() + first * n; row < x.data() + last * n; row += n)
        for (std::int64_t j = begin; j + 1 < end; ++j)
          kernels.axpy(end - j - 1, -row[j], feedback + j * n + j + 1, row + j + 1);
    });
  }
  std::vector<float> target(weight.begin(), weight.end());
  pool.parallel_for(rows, 1, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t at = first * n; at < last * n; at += n)
      for (std::int64_t j = 0; j < n; ++j)
        target[static_cast<std::size_t>(at + metric.order[static_cast<std::size_t>(j)])] +=
            strength * x[static_cast<std::size_t>(at + j)];
  });
  return target;
}

}  // namespace sparing::math
