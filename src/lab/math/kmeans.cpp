#include "lab/math/kmeans.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/rng.h"
#include "lab/math/simd.h"

namespace sparing::math {
namespace {

constexpr std::int64_t kChunk = 1024;

class Run {
 public:
  Run(std::span<const float> points, std::int64_t dim, std::span<const float> weights, const KMeansOptions& options,
      ThreadPool& pool)
      : points_(points),
        weights_(weights),
        dim_(dim),
        count_(static_cast<std::int64_t>(points.size()) / dim),
        options_(options),
        pool_(pool) {}

  KMeans run() {
    result_.codes.resize(static_cast<std::size_t>(count_));
    errors_.assign(static_cast<std::size_t>(count_), 0.0f);
    if (dim_ == 1) {
      result_.centres = scalar_centres(points_, weights_, options_.clusters);
      assign();
    } else {
      descend();
    }
    result_.loss = std::accumulate(errors_.begin(), errors_.end(), 0.0);
    return std::move(result_);
  }

 private:
  void descend() {
    seed();
    assign();
    for (std::int64_t i = 0; i < options_.iterations; ++i) {
      const std::vector<float> before = result_.centres;
      move();
      assign();
      if (result_.centres == before) break;
    }
  }

  const float* point(std::int64_t i) const { return points_.data() + i * dim_; }
  const float* weight(std::int64_t i) const { return weights_.empty() ? nullptr : weights_.data() + i * dim_; }
  float error(std::int64_t i, const float* centre) const {
    const float *p = point(i), *w = weight(i);
    float sum = 0;
    for (std::int64_t j = 0; j < dim_; ++j) {
      const float d = p[j] - centre[j];
      sum += (w ? w[j] : 1.0f) * d * d;
    }
    return sum;
  }

  void seed() {
    Rng rng(options_.seed);
    std::vector<double> so_far(static_cast<std::size_t>(count_));
    errors_.assign(static_cast<std::size_t>(count_), std::numeric_limits<float>::infinity());
    const auto add = [&](std::int64_t i) {
      const float* const from = point(i);
      result_.centres.insert(result_.centres.end(), from, from + dim_);
      const std::vector<float> centre(from, from + dim_);
      pool_.parallel_for(count_, kChunk, [&](std::int64_t first, std::int64_t last, int) {
        for (std::int64_t k = first; k < last; ++k) {
          float& e = errors_[static_cast<std::size_t>(k)];
          e = std::min(e, error(k, centre.data()));
        }
      });
    };
    add(static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(count_))));
    for (std::int64_t c = 1; c < options_.clusters; ++c) {
      double total = 0;
      for (std::size_t k = 0; k < so_far.size(); ++k) so_far[k] = total += errors_[k];
      const double draw = rng.uniform() * total;
      const auto at = std::upper_bound(so_far.begin(), so_far.end(), draw) - so_far.begin();
      add(std::min<std::int64_t>(at, count_ - 1));
    }
  }

  void assign() {
    const WeightedNearest nearest(result_.centres, dim_);
    pool_.parallel_for(count_, kChunk, [&](std::int64_t first, std::int64_t last, int) {
      for (std::int64_t i = first; i < last; ++i) {
        const std::uint8_t code = nearest.find(point(i), weight(i));
        result_.codes[static_cast<std::size_t>(i)] = code;
        errors_[static_cast<std::size_t>(i)] = error(i, result_.centres.data() + code * dim_);
      }
    });
  }

  void move() {
    const auto size = static_cast<std::size_t>(options_.clusters * dim_);
    std::vector<double> sum(size), mass(size);
    std::vector<std::int64_t> members(static_cast<std::size_t>(options_.clusters));
    for (std::int64_t i = 0; i < count_; ++i) {
      const std::size_t code = result_.codes[static_cast<std::size_t>(i)], at = code * static_cast<std::size_t>(dim_);
      const float *p = point(i), *w = weight(i);
      ++members[code];
      for (std::int64_t j = 0; j < dim_; ++j) {
        const double m = w ? w[j] : 1.0;
        sum[at + static_cast<std::size_t>(j)] += m * p[j];
        mass[at + static_cast<std::size_t>(j)] += m;
      }
    }
    for (std::size_t k = 0; k < members.size(); ++k) {
      float* const centre = result_.centres.data() + k * static_cast<std::size_t>(dim_);
      if (members[k] == 0) {
        const auto worst = std::max_element(errors_.begin(), errors_.end()) - errors_.begin();
        std::copy_n(point(worst), dim_, centre);
        errors_[static_cast<std::size_t>(worst)] = 0;
        continue;
      }
      for (std::int64_t j = 0; j < dim_; ++j) {
        const std::size_t at = k * static_cast<std::size_t>(dim_) + static_cast<std::size_t>(j);
        if (mass[at] > 0) centre[j] = static_cast<float>(sum[at] / mass[at]);
      }
    }
  }

  std::span<const float> points_, weights_;
  std::int64_t dim_, count_;
  KMeansOptions options_;
  ThreadPool& pool_;
  KMeans result_;
  std::vector<float> errors_;
};

}  // namespace

WeightedNearest::WeightedNearest(std::span<const float> centres, std::int64_t dim) : dim_(dim) {
  const auto count = static_cast<std::int64_t>(centres.size()) / dim;
  padded_ = (count + 15) / 16 * 16;
  columns_.assign(static_cast<std::size_t>(2 * dim * padded_), 0.0f);
  norms_.assign(static_cast<std::size_t>(padded_), std::numeric_limits<float>::infinity());
  for (std::int64_t k = 0; k < count; ++k) {
    norms_[static_cast<std::size_t>(k)] = 0.0f;
    for (std::int64_t j = 0; j < dim; ++j) {
      const float c = centres[static_cast<std::size_t>(k * dim + j)];
      columns_[static_cast<std::size_t>(j * padded_ + k)] = c * c;
      columns_[static_cast<std::size_t>((dim + j) * padded_ + k)] = c;
    }
  }
}

std::uint8_t WeightedNearest::find(const float* point, const float* weight) const {
  float y[16], least;
  for (std::int64_t j = 0; j < dim_; ++j) {
    const float w = weight ? weight[j] : 1.0f;
    y[j] = w;
    y[dim_ + j] = -2.0f * w * point[j];
  }
  return static_cast<std::uint8_t>(simd().nearest(padded_, 2 * dim_, columns_.data(), norms_.data(), y, &least));
}

KMeans k_means(std::span<const float> points, std::int64_t dim, std::span<const float> weights,
               const KMeansOptions& options, ThreadPool& pool) {
  return Run(points, dim, weights, options, pool).run();
}

}  // namespace sparing::math
