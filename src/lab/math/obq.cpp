#include "lab/math/obq.h"

#include <algorithm>
#include <numeric>

#include "lab/math/gemm.h"
#include "lab/math/simd.h"

namespace sparing::math {

void code_with_feedback(std::span<const float> weight, std::int64_t rows, const Metric& metric,
                        const FeedbackOptions& options, Grid& grid, std::span<float> decoded, ThreadPool& pool) {
  const std::int64_t n = metric.cols, group = std::min(grid.group(), n);
  std::int64_t block = std::min(options.block, n);
  // A group that is fitted when reached must see all earlier errors: it may not straddle two blocks.
  if (options.fit_on_the_way) block = group >= block ? group : block / group * group;
  // errors[row][j]: the weight less its value, in coding order; moved[row][j - begin]: what earlier errors ask of j.
  std::vector<float> errors(static_cast<std::size_t>(rows * n)), moved(static_cast<std::size_t>(rows * block));
  std::vector<float> importance(static_cast<std::size_t>(n));
  for (std::int64_t j = 0; j < n; ++j)
    importance[static_cast<std::size_t>(j)] =
        metric.diagonal[static_cast<std::size_t>(metric.order[static_cast<std::size_t>(j)])];
  const auto& kernels = simd();
  for (std::int64_t begin = 0; begin < n; begin += block) {
    const std::int64_t end = std::min(n, begin + block);
    std::fill(moved.begin(), moved.end(), 0.0f);
    gemm<float>(rows, end - begin, begin, 1.0f, rows_of(static_cast<const float*>(errors.data()), n),
                rows_of(metric.feedback.data() + begin, n), moved.data(), block, pool);
    pool.parallel_for(rows, 1, [&](std::int64_t first, std::int64_t last, int) {
      std::vector<float> reached(static_cast<std::size_t>(group));
      for (std::int64_t row = first; row < last; ++row) {
        const float* const w = weight.data() + row * n;
        float* const out = decoded.data() + row * n;
        float* const error = errors.data() + row * n;
        float* const shift = moved.data() + row * block;
        for (std::int64_t j = begin; j < end; ++j) {
          if (options.fit_on_the_way && j % group == 0) {
            const auto count = static_cast<std::size_t>(std::min(group, n - j));
            for (std::size_t i = 0; i < count; ++i)
              reached[i] =
                  w[metric.order[static_cast<std::size_t>(j) + i]] + shift[j - begin + static_cast<std::int64_t>(i)];
            grid.fit(row, j / group, std::span(reached).first(count),
                     std::span<const float>(importance).subspan(static_cast<std::size_t>(j), count));
          }
          const std::int64_t input = metric.order[static_cast<std::size_t>(j)];
          const float value = grid.code(row, options.permuted ? j : input, w[input] + shift[j - begin]);
          out[input] = value;
          error[j] = w[input] - value;
          kernels.axpy(end - j - 1, error[j], metric.feedback.data() + j * n + j + 1, shift + (j - begin) + 1);
        }
      }
    });
  }
}

namespace {

std::vector<float> errors_of(std::span<const float> weight, std::span<const float> decoded) {
  std::vector<float> errors(weight.begin(), weight.end());
  for (std::size_t i = 0; i < decoded.size(); ++i) errors[i] -= decoded[i];
  return errors;
}

// Rows handled at a time by the passes below, so that their temporaries stay small beside the weight.
constexpr std::int64_t kRows = 512;

}  // namespace

std::vector<double> row_losses(std::span<const float> weight, std::span<const float> decoded, std::int64_t rows,
                               const Metric& metric, ThreadPool& pool) {
  return row_losses(weight, decoded, rows, metric.cols, metric.h, pool);
}

double relative_output_error(std::span<const float> weight, std::span<const float> decoded, std::int64_t rows,
                             std::int64_t cols, std::span<const float> h, ThreadPool& pool) {
  const auto total = [](const std::vector<double>& losses) {
    return std::accumulate(losses.begin(), losses.end(), 0.0);
  };
  const double whole = total(row_losses(weight, {}, rows, cols, h, pool));
  return whole > 0 ? total(row_losses(weight, decoded, rows, cols, h, pool)) / whole : 0;
}

std::vector<double> row_losses(std::span<const float> weight, std::span<const float> decoded, std::int64_t rows,
                               std::int64_t cols, std::span<const float> h, ThreadPool& pool) {
  const std::int64_t n = cols;
  std::vector<double> losses(static_cast<std::size_t>(rows));
  std::vector<float> product;
  for (std::int64_t begin = 0; begin < rows; begin += kRows) {
    const std::int64_t count = std::min(kRows, rows - begin);
    const auto part = [&](std::span<const float> all) {
      return all.subspan(static_cast<std::size_t>(begin * n), static_cast<std::size_t>(count * n));
    };
    const std::vector<float> errors = errors_of(part(weight), decoded.empty() ? decoded : part(decoded));
    product.assign(errors.size(), 0.0f);
    gemm<float>(count, n, n, 1.0f, rows_of(errors.data(), n), rows_of(h.data(), n), product.data(), n, pool);
    for (std::int64_t r = 0; r < count; ++r) {
      double sum = 0;
      for (std::int64_t j = 0; j < n; ++j)
        sum += static_cast<double>(errors[static_cast<std::size_t>(r * n + j)]) *
               product[static_cast<std::size_t>(r * n + j)];
      losses[static_cast<std::size_t>(begin + r)] = sum;
    }
  }
  return losses;
}

void descend(std::span<const float> weight, std::int64_t rows, const Metric& metric, int sweeps, Grid& grid,
             std::span<float> decoded, ThreadPool& pool) {
  const std::int64_t n = metric.cols;
  const auto& kernels = simd();
  std::vector<float> gradient;
  for (std::int64_t begin = 0; begin < rows; begin += kRows) {
    const std::int64_t count = std::min(kRows, rows - begin);
    const auto at = static_cast<std::size_t>(begin * n), size = static_cast<std::size_t>(count * n);
    const std::vector<float> errors = errors_of(weight.subspan(at, size), decoded.subspan(at, size));
    gradient.assign(size, 0.0f);
    gemm<float>(count, n, n, 1.0f, rows_of(errors.data(), n), rows_of(metric.h.data(), n), gradient.data(), n, pool);
    pool.parallel_for(count, 1, [&](std::int64_t first, std::int64_t last, int) {
      for (std::int64_t r = first; r < last; ++r) {
        float* const value = decoded.data() + (begin + r) * n;
        float* const g = gradient.data() + r * n;
        for (int sweep = 0; sweep < sweeps; ++sweep) {
          bool changed = false;
          for (std::int64_t j = 0; j < n; ++j) {
            const float now = value[j];
            const float next = grid.code(begin + r, j, now + g[j] / metric.diagonal[static_cast<std::size_t>(j)]);
            if (next == now) continue;
            changed = true;
            value[j] = next;
            kernels.axpy(n, now - next, metric.h.data() + j * n, g);
          }
          if (!changed) break;
        }
      }
    });
  }
}

}  // namespace sparing::math
