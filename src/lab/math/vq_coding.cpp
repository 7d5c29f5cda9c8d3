#include "lab/math/vq_coding.h"

#include <algorithm>
#include <cmath>

#include "lab/math/gemm.h"
#include "lab/math/kmeans.h"
#include "lab/math/simd.h"
#include "lab/math/vq_search.h"

namespace sparing::math {
namespace {

std::size_t at(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

/// Vectors of one weight over their scales, each coordinate's weight beside it. Short last vectors end in zeros of
/// weight 0.
struct Points {
  std::vector<float> values, weights;
};

Points sample(std::span<const float> weight, const VqGrid& grid, std::span<const float> scales,
              std::span<const float> importance, std::int64_t most) {
  const std::int64_t width = grid.spec().vector, cols = grid.cols(), total = grid.rows() * grid.vectors();
  Points points;
  const float largest = *std::max_element(scales.begin(), scales.end());
  // The i-th of `count` evenly spaced among `total`; odd strides would prefer some columns.
  const std::int64_t count = std::min(total, most);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t index = static_cast<std::int64_t>(static_cast<double>(i) * static_cast<double>(total) /
                                                         static_cast<double>(count)),
                       row = index / grid.vectors(), vector = index % grid.vectors();
    const float scale = scales[at(row * grid.groups() + grid.group_of(vector))];
    if (scale == 0.0f) continue;
    for (std::int64_t j = 0; j < width; ++j) {
      const bool inside = j < grid.width(vector);
      const std::int64_t c = vector * width + j;
      points.values.push_back(inside ? weight[at(row * cols + c)] / scale : 0.0f);
      points.weights.push_back(inside ? importance[at(c)] * (scale / largest) * (scale / largest) : 0.0f);
    }
  }
  // Weights of about 1: sums of squares stay within single precision.
  double mean = 0;
  for (const float w : points.weights) mean += w;
  if (mean > 0)
    for (float& w : points.weights) w *= static_cast<float>(static_cast<double>(points.weights.size()) / mean);
  return points;
}

void code_nearest(std::span<const float> weight, std::span<const float> importance, VqGrid& grid, ThreadPool& pool) {
  const std::int64_t width = grid.spec().vector;
  std::vector<VqSearch> searches;
  for (std::int64_t v = 0; v < grid.vectors(); ++v) {
    const std::int64_t count = grid.width(v);
    std::vector<float> map(at(count * count));
    for (std::int64_t j = 0; j < count; ++j) map[at(j * count + j)] = std::sqrt(importance[at(v * width + j)]);
    searches.emplace_back(grid, map.data(), count);
  }
  pool.parallel_for(grid.rows(), 1, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t r = first; r < last; ++r)
      for (std::int64_t v = 0; v < grid.vectors(); ++v) {
        const float scale = grid.scale(r, grid.group_of(v));
        if (scale == 0.0f) continue;
        float y[8];
        for (std::int64_t j = 0; j < grid.width(v); ++j)
          y[j] = weight[at(r * grid.cols() + v * width + j)] / scale * std::sqrt(importance[at(v * width + j)]);
        searches[at(v)].find(y, 4, grid.codes(r, v));
      }
  });
}

}  // namespace

VqGrid start_vq(std::span<const float> weight, std::int64_t rows, std::int64_t cols, const VqAdditiveSpec& spec,
                std::span<const float> importance, const VqStart& options, ThreadPool& pool) {
  VqGrid grid(spec, rows, cols);
  const std::int64_t group = spec.groups.group;
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t g = 0; g < grid.groups(); ++g) {
      double sum = 0, mass = 0;
      for (std::int64_t c = g * group; c < std::min(cols, (g + 1) * group); ++c) {
        const double w = weight[at(r * cols + c)], m = importance[at(c)];
        sum += m * w * w;
        mass += m;
      }
      grid.scales()[at(r * grid.groups() + g)] = static_cast<float>(std::sqrt(sum / mass));
    }
  Points points = sample(weight, grid, grid.scales(), importance, options.most_points);
  for (std::int64_t b = 0; b < spec.books && !points.values.empty(); ++b) {
    const KMeans found = k_means(points.values, spec.vector, points.weights,
                                 {.clusters = grid.entries(),
                                  .iterations = options.iterations,
                                  .seed = options.seed + static_cast<std::uint64_t>(b)},
                                 pool);
    std::copy(found.centres.begin(), found.centres.end(),
              grid.books().begin() + static_cast<std::ptrdiff_t>(found.centres.size()) * b);
    for (std::size_t i = 0; i < points.values.size(); ++i)
      points.values[i] -= found.centres[found.codes[i / at(spec.vector)] * at(spec.vector) + i % at(spec.vector)];
  }
  grid.normalise();
  code_nearest(weight, importance, grid, pool);
  return grid;
}

void code_vq_with_feedback(std::span<const float> weight, std::int64_t rows, const Metric& metric, int beam,
                           VqGrid& grid, std::span<float> decoded, ThreadPool& pool) {
  const std::int64_t n = metric.cols, width = grid.spec().vector;
  // Runs of positions, a vector each, and blocks of them between two matrix products.
  struct Run {
    std::int64_t begin, vector, count;
  };
  std::vector<Run> runs;
  for (std::int64_t j = 0; j < n; j += runs.back().count) {
    const std::int64_t vector = metric.order[at(j)] / width;
    runs.push_back({j, vector, grid.width(vector)});
  }
  constexpr std::size_t kRunsPerBlock = 24;
  std::vector<float> errors(at(rows * n)), moved;
  const auto& kernels = simd();
  for (std::size_t first_run = 0; first_run < runs.size(); first_run += kRunsPerBlock) {
    const std::size_t last_run = std::min(runs.size(), first_run + kRunsPerBlock);
    const std::int64_t begin = runs[first_run].begin, end = runs[last_run - 1].begin + runs[last_run - 1].count,
                       span = end - begin;
    std::vector<VqSearch> searches;
    std::vector<std::vector<float>> maps;
    for (std::size_t i = first_run; i < last_run; ++i) {
      const auto& [from, vector, count] = runs[i];
      std::vector<float>& map = maps.emplace_back(at(count * count));
      for (std::int64_t a = 0; a < count; ++a)
        for (std::int64_t b = a; b < count; ++b)
          map[at(a * count + b)] =
              metric.feedback[at((from + a) * n + from + b)] * std::sqrt(metric.pivots[at(from + b)]);
      searches.emplace_back(grid, map.data(), count);
    }
    moved.assign(at(rows * span), 0.0f);
    gemm<float>(rows, span, begin, 1.0f, rows_of(static_cast<const float*>(errors.data()), n),
                rows_of(metric.feedback.data() + begin, n), moved.data(), span, pool);
    pool.parallel_for(rows, 1, [&](std::int64_t first, std::int64_t last, int) {
      for (std::int64_t row = first; row < last; ++row) {
        const float* const w = weight.data() + row * n;
        float* const shift = moved.data() + row * span;
        for (std::size_t i = first_run; i < last_run; ++i) {
          const auto& [from, vector, count] = runs[i];
          const float* const map = maps[i - first_run].data();
          const float scale = grid.scale(row, grid.group_of(vector));
          const std::int64_t input = vector * width;
          float* const out = decoded.data() + row * n + input;
          if (scale != 0.0f) {
            float y[8] = {};
            for (std::int64_t b = 0; b < count; ++b) {
              y[b] = shift[from - begin + b] * std::sqrt(metric.pivots[at(from + b)]);
              for (std::int64_t a = 0; a <= b; ++a) y[b] += w[input + a] * map[a * count + b];
              y[b] /= scale;
            }
            searches[i - first_run].find(y, beam, grid.codes(row, vector));
          }
          grid.decode(row, vector, out);
          for (std::int64_t a = 0; a < count; ++a) {
            const float error = w[input + a] - out[a];
            const std::int64_t j = from + a, rest = from + count;
            errors[at(row * n + j)] = error;
            kernels.axpy(end - rest, error, metric.feedback.data() + j * n + rest, shift + (rest - begin));
          }
        }
      }
    });
  }
}

std::vector<std::vector<float>> vector_factors(const Metric& metric, const VqGrid& grid) {
  std::vector<std::vector<float>> factors;
  const std::int64_t width = grid.spec().vector;
  for (std::int64_t v = 0; v < grid.vectors(); ++v) {
    const std::int64_t count = grid.width(v), from = v * width;
    std::vector<float>& l = factors.emplace_back(at(count * count));
    for (std::int64_t i = 0; i < count; ++i)
      for (std::int64_t j = 0; j <= i; ++j) {
        double sum = metric.h[at((from + i) * metric.cols + from + j)];
        for (std::int64_t k = 0; k < j; ++k) sum -= static_cast<double>(l[at(i * count + k)]) * l[at(j * count + k)];
        // H is positive definite: only rounding can spoil a pivot.
        const double least = 1e-6 * metric.diagonal[at(from + i)];
        l[at(i * count + j)] =
            static_cast<float>(i == j ? std::sqrt(std::max(sum, least)) : sum / l[at(j * count + j)]);
      }
  }
  return factors;
}

namespace {

/// (weight - decoded) H, [rows, cols].
std::vector<float> error_gradient(std::span<const float> weight, std::span<const float> decoded, std::int64_t rows,
                                  const Metric& metric, ThreadPool& pool) {
  std::vector<float> errors(weight.size()), gradient(weight.size());
  for (std::size_t i = 0; i < errors.size(); ++i) errors[i] = weight[i] - decoded[i];
  gemm<float>(rows, metric.cols, metric.cols, 1.0f, rows_of(static_cast<const float*>(errors.data()), metric.cols),
              rows_of(metric.h.data(), metric.cols), gradient.data(), metric.cols, pool);
  return gradient;
}

}  // namespace

void descend_vq(std::span<const float> weight, std::int64_t rows, const Metric& metric, int sweeps, int beam,
                VqGrid& grid, std::span<float> decoded, ThreadPool& pool) {
  const std::int64_t n = metric.cols, width = grid.spec().vector, books = grid.spec().books;
  std::vector<float> gradient = error_gradient(weight, decoded, rows, metric, pool);
  const std::vector<std::vector<float>> factors = vector_factors(metric, grid);
  std::vector<VqSearch> searches;
  for (std::int64_t v = 0; v < grid.vectors(); ++v) searches.emplace_back(grid, factors[at(v)].data(), grid.width(v));
  const auto& kernels = simd();
  pool.parallel_for(rows, 16, [&](std::int64_t first, std::int64_t last, int) {
    std::vector<char> done(at(last - first));
    for (int sweep = 0; sweep < sweeps; ++sweep) {
      std::vector<char> changed(done.size());
      for (std::int64_t v = 0; v < grid.vectors(); ++v) {
        const std::int64_t count = grid.width(v), input = v * width;
        const float* const l = factors[at(v)].data();
        for (std::int64_t r = first; r < last; ++r) {
          const float scale = grid.scale(r, grid.group_of(v));
          if (done[at(r - first)] != 0 || scale == 0.0f) continue;
          float* const g = gradient.data() + r * n;
          std::uint8_t* const now = grid.codes(r, v);
          // The least loss is at a change x of the values with x H = g: y = x L solves y L' = g.
          float y[8], old[8], wanted[8];
          grid.sum(r, v, old);
          for (std::int64_t j = 0; j < count; ++j) {
            float left = g[input + j];
            for (std::int64_t k = 0; k < j; ++k) left -= y[k] * l[j * count + k];
            y[j] = left / l[j * count + j];
          }
          for (std::int64_t j = 0; j < count; ++j) {
            wanted[j] = y[j] / scale;
            for (std::int64_t i = j; i < count; ++i) wanted[j] += old[i] * l[i * count + j];
          }
          std::uint8_t best[2] = {now[0], books == 2 ? now[1] : std::uint8_t{0}};
          const float before = searches[at(v)].distance(wanted, now), after = searches[at(v)].find(wanted, beam, best);
          if (!(after < before) || std::equal(best, best + books, now)) continue;
          std::copy_n(best, books, now);
          changed[at(r - first)] = 1;
          float next[8];
          grid.decode(r, v, next);
          float* const value = decoded.data() + r * n + input;
          for (std::int64_t j = 0; j < count; ++j) {
            kernels.axpy(n, value[j] - next[j], metric.h.data() + (input + j) * n, g);
            value[j] = next[j];
          }
        }
      }
      for (std::size_t i = 0; i < done.size(); ++i) done[i] = changed[i] == 0;
    }
  });
}

namespace {

double sum_of(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return sum;
}

void times_h(const std::vector<float>& x, std::int64_t rows, const Metric& metric, std::vector<float>& out,
             ThreadPool& pool) {
  std::fill(out.begin(), out.end(), 0.0f);
  gemm<float>(rows, metric.cols, metric.cols, 1.0f, rows_of(x.data(), metric.cols),
              rows_of(metric.h.data(), metric.cols), out.data(), metric.cols, pool);
}

double dot_of(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

}  // namespace

bool refit_books(std::span<const float> weight, std::int64_t rows, const Metric& metric, int iterations, VqGrid& grid,
                 std::span<float> decoded, ThreadPool& pool) {
  const std::int64_t n = metric.cols, width = grid.spec().vector, books = grid.spec().books;
  const std::size_t size = grid.books().size();
  // Calls f(index of the entry's first coordinate, row, vector, scale) for every use of an entry.
  const auto for_uses = [&](const auto& f) {
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t v = 0; v < grid.vectors(); ++v)
        for (std::int64_t b = 0; b < books; ++b)
          f(at((b * grid.entries() + grid.codes(r, v)[b]) * width), r, v, grid.scale(r, grid.group_of(v)));
  };
  const auto gather = [&](const std::vector<float>& gradient) {
    std::vector<double> sums(size);
    for_uses([&](std::size_t entry, std::int64_t r, std::int64_t v, float s) {
      for (std::int64_t j = 0; j < grid.width(v); ++j)
        sums[entry + at(j)] += static_cast<double>(s) * gradient[at(r * n + v * width + j)];
    });
    return sums;
  };
  std::vector<double> preconditioner(size, 1e-30);
  for_uses([&](std::size_t entry, std::int64_t, std::int64_t v, float s) {
    for (std::int64_t j = 0; j < grid.width(v); ++j)
      preconditioner[entry + at(j)] += static_cast<double>(s) * s * metric.diagonal[at(v * width + j)];
  });
  std::vector<float> product = error_gradient(weight, decoded, rows, metric, pool), change(weight.size());
  std::vector<double> residual = gather(product), direction(size), found(size);
  double power = 0;
  for (int i = 0; i < iterations; ++i) {
    double next = 0;
    for (std::size_t k = 0; k < size; ++k) next += residual[k] * residual[k] / preconditioner[k];
    if (!(next > 0)) break;
    for (std::size_t k = 0; k < size; ++k)
      direction[k] = residual[k] / preconditioner[k] + (i > 0 ? next / power : 0.0) * direction[k];
    power = next;
    std::fill(change.begin(), change.end(), 0.0f);
    for_uses([&](std::size_t entry, std::int64_t r, std::int64_t v, float s) {
      for (std::int64_t j = 0; j < grid.width(v); ++j)
        change[at(r * n + v * width + j)] += s * static_cast<float>(direction[entry + at(j)]);
    });
    times_h(change, rows, metric, product, pool);
    const double curvature = dot_of(change, product);
    if (!(curvature > 0)) break;
    const std::vector<double> used = gather(product);
    for (std::size_t k = 0; k < size; ++k) {
      found[k] += power / curvature * direction[k];
      residual[k] -= power / curvature * used[k];
    }
  }
  VqGrid next = grid;
  for (std::int64_t b = 0; b < books; ++b)
    for (std::int64_t e = 0; e < grid.entries(); ++e)
      for (std::int64_t j = 0; j < width; ++j) {
        const std::size_t k = at((b * grid.entries() + e) * width + j);
        next.books()[k] = grid.entry(b, e)[j] + static_cast<float>(found[k]);
      }
  next.freeze();
  std::vector<float> values = decoded_values(next);
  if (!(sum_of(row_losses(weight, values, rows, metric, pool)) <
        sum_of(row_losses(weight, decoded, rows, metric, pool))))
    return false;
  grid = std::move(next);
  std::copy(values.begin(), values.end(), decoded.begin());
  return true;
}

std::int64_t refit_vq_scales(std::span<const float> weight, std::int64_t rows, const Metric& metric, int iterations,
                             VqGrid& grid, std::span<float> decoded, ThreadPool& pool) {
  const std::int64_t n = metric.cols, width = grid.spec().vector, groups = grid.groups();
  std::vector<float> sums(weight.size()), change(weight.size());
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t v = 0; v < grid.vectors(); ++v) grid.sum(r, v, sums.data() + r * n + v * width);
  const auto group_of = [&](std::int64_t c) { return c / grid.spec().groups.group; };
  // By row and group: sum of x[c] * sums[c].
  const auto gather = [&](const std::vector<float>& x) {
    std::vector<double> out(at(rows * groups));
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t c = 0; c < n; ++c)
        out[at(r * groups + group_of(c))] += static_cast<double>(x[at(r * n + c)]) * sums[at(r * n + c)];
    return out;
  };
  std::vector<double> preconditioner(at(rows * groups), 1e-30), direction(preconditioner.size()), found(direction);
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < n; ++c)
      preconditioner[at(r * groups + group_of(c))] +=
          static_cast<double>(sums[at(r * n + c)]) * sums[at(r * n + c)] * metric.diagonal[at(c)];
  std::vector<float> product = error_gradient(weight, decoded, rows, metric, pool);
  std::vector<double> residual = gather(product), power(at(rows));
  for (int i = 0; i < iterations; ++i) {
    for (std::int64_t r = 0; r < rows; ++r) {
      double next = 0;
      for (std::int64_t g = r * groups; g < (r + 1) * groups; ++g)
        next += residual[at(g)] * residual[at(g)] / preconditioner[at(g)];
      const double keep = i > 0 && power[at(r)] > 0 ? next / power[at(r)] : 0;
      for (std::int64_t g = r * groups; g < (r + 1) * groups; ++g)
        direction[at(g)] = residual[at(g)] / preconditioner[at(g)] + keep * direction[at(g)];
      power[at(r)] = next;
      for (std::int64_t c = 0; c < n; ++c)
        change[at(r * n + c)] = sums[at(r * n + c)] * static_cast<float>(direction[at(r * groups + group_of(c))]);
    }
    times_h(change, rows, metric, product, pool);
    const std::vector<double> used = gather(product);
    for (std::int64_t r = 0; r < rows; ++r) {
      double curvature = 0;
      for (std::int64_t g = r * groups; g < (r + 1) * groups; ++g) curvature += direction[at(g)] * used[at(g)];
      if (!(curvature > 0)) continue;
      for (std::int64_t g = r * groups; g < (r + 1) * groups; ++g) {
        found[at(g)] += power[at(r)] / curvature * direction[at(g)];
        residual[at(g)] -= power[at(r)] / curvature * used[at(g)];
      }
    }
  }
  const std::vector<double> before = row_losses(weight, decoded, rows, metric, pool);
  VqGrid next = grid;
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t g = 0; g < groups; ++g) {
      const double scale = grid.scale(r, g) + found[at(r * groups + g)];
      // One that changes sign or is lost means codes without signal: keep what there was.
      if (scale > 0 && std::isfinite(scale)) next.scales()[at(r * groups + g)] = static_cast<float>(scale);
    }
  next.freeze();
  const std::vector<double> after = row_losses(weight, decoded_values(next), rows, metric, pool);
  std::int64_t changed = 0;
  for (std::int64_t r = 0; r < rows; ++r) {
    const bool lower = after[at(r)] < before[at(r)];
    changed += lower;
    for (std::int64_t g = 0; g < groups; ++g)
      grid.scales()[at(r * groups + g)] = lower ? next.scales()[at(r * groups + g)] : grid.scale(r, g);
  }
  grid.freeze();
  for (std::int64_t r = 0; r < rows; ++r) grid.decode_row(r, decoded.data() + r * n);
  return changed;
}

VqGrid code_vq(std::span<const float> weight, std::int64_t rows, const VqAdditiveSpec& spec, const Metric& metric,
               const VqCodingOptions& options, std::vector<float>& decoded, ThreadPool& pool) {
  VqGrid grid = start_vq(weight, rows, metric.cols, spec, metric.diagonal, {.seed = options.seed}, pool);
  decoded = decoded_values(grid);
  if (!options.feedback) return grid;
  code_vq_with_feedback(weight, rows, metric, options.beam, grid, decoded, pool);
  for (std::int64_t round = 0; round < options.refine; ++round) {
    // Once: books that were fitted to codes made with feedback are better ones to make codes with.
    if (round == 1) code_vq_with_feedback(weight, rows, metric, options.beam, grid, decoded, pool);
    refit_books(weight, rows, metric, 8, grid, decoded, pool);
    refit_vq_scales(weight, rows, metric, 4, grid, decoded, pool);
    descend_vq(weight, rows, metric, 2, options.beam, grid, decoded, pool);
  }
  return grid;
}

}  // namespace sparing::math
