// Scales in closed form: with codes fixed, a row is linear in its groups' scales (and minima), so the least loss in the
// metric is a small linear system per row.

#include <algorithm>
#include <cmath>

#include "lab/math/cholesky.h"
#include "lab/math/gemm.h"
#include "lab/math/obq.h"
#include "lab/math/simd.h"

namespace sparing::math {
namespace {

constexpr std::int64_t kRows = 256;

// Loss of parameters x up to a constant: x'Ax - 2b'x.
double loss_of(std::int64_t n, const double* a, const double* b, const std::vector<double>& x) {
  double loss = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    double sum = -2 * b[i];
    for (std::int64_t j = 0; j < n; ++j) sum += a[i * n + j] * x[static_cast<std::size_t>(j)];
    loss += sum * x[static_cast<std::size_t>(i)];
  }
  return loss;
}

}  // namespace

std::int64_t refit_scales(std::span<const float> weight, std::int64_t rows, const Metric& metric, IntGrid& grid,
                          std::span<float> decoded, ThreadPool& pool) {
  if (grid.spec().groups.scale != ScaleKind::f16) return descend_lines(weight, rows, metric, grid, decoded, pool);
  const std::int64_t n = metric.cols, width = std::min<std::int64_t>(grid.group(), n), groups = grid.groups();
  const bool minima = grid.spec().zero == ZeroKind::f16_min;
  const std::int64_t bases = minima ? 2 : 1, unknowns = groups * bases;
  std::vector<char> changed(static_cast<std::size_t>(rows));

  for (std::int64_t begin = 0; begin < rows; begin += kRows) {
    const std::int64_t count = std::min(kRows, rows - begin);
    // basis[r][j]: what the scale of j's group multiplies.
    std::vector<float> basis(static_cast<std::size_t>(count * n)), product(basis.size()), wanted(basis.size());
    for (std::int64_t r = 0; r < count; ++r)
      for (std::int64_t j = 0; j < n; ++j) {
        const float zero =
            minima
                ? 0.0f
                : (grid.line(begin + r, j / width).scale != 0.0f
                       ? std::nearbyint(-grid.line(begin + r, j / width).offset / grid.line(begin + r, j / width).scale)
                       : 0.0f);
        basis[static_cast<std::size_t>(r * n + j)] = static_cast<float>(grid.code_at(begin + r, j)) - zero;
      }
    gemm<float>(count, n, n, 1.0f, rows_of(weight.data() + begin * n, n), rows_of(metric.h.data(), n), wanted.data(), n,
                pool);
    std::vector<double> system(static_cast<std::size_t>(count * unknowns * unknowns)),
        target(static_cast<std::size_t>(count * unknowns));
    for (std::int64_t g = 0; g < groups; ++g) {
      const std::int64_t from = g * width, to = std::min(n, from + width);
      for (std::int64_t b = 0; b < bases; ++b) {
        // product = (basis b of group g) * H, for every row; the basis of minima is all ones.
        const std::vector<float> ones(b == 1 ? static_cast<std::size_t>(to - from) : 0, 1.0f);
        const View<float> left =
            b == 0 ? rows_of(static_cast<const float*>(basis.data()) + from, n) : View<float>{ones.data(), 0, 1};
        std::fill(product.begin(), product.end(), 0.0f);
        gemm<float>(count, n, to - from, 1.0f, left, rows_of(metric.h.data() + from * n, n), product.data(), n, pool);
        pool.parallel_for(count, 1, [&](std::int64_t first, std::int64_t last, int) {
          for (std::int64_t r = first; r < last; ++r) {
            double* const line = system.data() + (r * unknowns + g * bases + b) * unknowns;
            for (std::int64_t other = 0; other < groups; ++other) {
              const std::int64_t start = other * width, length = std::min(n, start + width) - start;
              const float* const p = product.data() + r * n + start;
              line[other * bases] = simd().dot(length, p, basis.data() + r * n + start);
              if (minima) {
                double sum = 0;
                for (std::int64_t j = 0; j < length; ++j) sum += p[j];
                line[other * bases + 1] = sum;
              }
            }
            double sum = 0;
            for (std::int64_t j = from; j < to; ++j)
              sum += static_cast<double>(wanted[static_cast<std::size_t>(r * n + j)]) *
                     (b == 0 ? basis[static_cast<std::size_t>(r * n + j)] : 1.0f);
            target[static_cast<std::size_t>(r * unknowns + g * bases + b)] = sum;
          }
        });
      }
    }
    pool.parallel_for(count, 1, [&](std::int64_t first, std::int64_t last, int) {
      for (std::int64_t r = first; r < last; ++r) {
        const double* const a = system.data() + r * unknowns * unknowns;
        const double* const b = target.data() + r * unknowns;
        std::vector<double> factor(a, a + unknowns * unknowns), best(b, b + unknowns);
        double mean = 0;
        for (std::int64_t u = 0; u < unknowns; ++u) mean += a[u * unknowns + u] / static_cast<double>(unknowns);
        // A group without any code off its zero has no say in its scale.
        for (std::int64_t u = 0; u < unknowns; ++u)
          factor[static_cast<std::size_t>(u * unknowns + u)] += 1e-7 * mean + 1e-30;
        if (!solve_spd(unknowns, factor.data(), best.data())) continue;
        const std::int64_t row = begin + r;
        std::vector<IntGrid::Line> old;
        const auto parameters = [&] {
          std::vector<double> x;
          for (std::int64_t g = 0; g < groups; ++g) {
            x.push_back(grid.line(row, g).scale);
            if (minima) x.push_back(grid.line(row, g).offset);
          }
          return x;
        };
        const double before = loss_of(unknowns, a, b, parameters());
        for (std::int64_t g = 0; g < groups; ++g) {
          old.push_back(grid.line(row, g));
          const auto u = static_cast<std::size_t>(g * bases);
          const double scale = best[u], offset = minima ? best[u + 1] : 0.0;
          // A scale that changes sign or collapses means codes without signal: keep what there was.
          if (scale * old.back().scale <= 0 || !std::isfinite(scale) || !std::isfinite(offset)) continue;
          grid.set_line(row, g, static_cast<float>(scale), static_cast<float>(offset));
        }
        if (loss_of(unknowns, a, b, parameters()) < before) {
          changed[static_cast<std::size_t>(row)] = 1;
          for (std::int64_t j = 0; j < n; ++j) decoded[static_cast<std::size_t>(row * n + j)] = grid.value_at(row, j);
          continue;
        }
        for (std::int64_t g = 0; g < groups; ++g) {
          const auto& line = old[static_cast<std::size_t>(g)];
          if (line.scale != 0.0f) grid.set_line(row, g, line.scale, line.offset);
        }
      }
    });
  }
  return std::count(changed.begin(), changed.end(), 1);
}

}  // namespace sparing::math
