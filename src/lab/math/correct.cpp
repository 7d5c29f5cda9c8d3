#include "lab/math/gemm.h"
#include "lab/math/obq.h"
#include "lab/math/simd.h"

namespace sparing::math {

std::vector<float> corrected_target(std::span<const float> weight, std::int64_t rows, const Metric& metric,
                                    std::span<const float> input_damage, std::span<const float> residual_damage,
                                    float strength, ThreadPool& pool) {
  const std::int64_t n = metric.cols;
  std::vector<float> pull(weight.size());
  if (!residual_damage.empty()) pull.assign(residual_damage.begin(), residual_damage.end());
  if (!input_damage.empty())
    gemm<float>(rows, n, n, 1.0f, rows_of(weight.data(), n), rows_of(input_damage.data(), n), pull.data(), n, pool);
  std::vector<float> target(weight.begin(), weight.end());
  const auto& kernels = simd();
  pool.parallel_for(rows, 1, [&](std::int64_t first, std::int64_t last, int) {
    std::vector<float> x(static_cast<std::size_t>(n));
    for (std::int64_t row = first; row < last; ++row) {
      // x N D N' = pull, in coding order: first against N', from the last input, then against N, from the first.
      for (std::int64_t j = 0; j < n; ++j)
        x[static_cast<std::size_t>(j)] =
            pull[static_cast<std::size_t>(row * n + metric.order[static_cast<std::size_t>(j)])];
      for (std::int64_t j = n - 2; j >= 0; --j)
        x[static_cast<std::size_t>(j)] -=
            kernels.dot(n - j - 1, metric.feedback.data() + j * n + j + 1, x.data() + j + 1);
      for (std::int64_t j = 0; j < n; ++j) x[static_cast<std::size_t>(j)] /= metric.pivots[static_cast<std::size_t>(j)];
      for (std::int64_t j = 0; j + 1 < n; ++j)
        kernels.axpy(n - j - 1, -x[static_cast<std::size_t>(j)], metric.feedback.data() + j * n + j + 1,
                     x.data() + j + 1);
      for (std::int64_t j = 0; j < n; ++j)
        target[static_cast<std::size_t>(row * n + metric.order[static_cast<std::size_t>(j)])] +=
            strength * x[static_cast<std::size_t>(j)];
    }
  });
  return target;
}

}  // namespace sparing::math
