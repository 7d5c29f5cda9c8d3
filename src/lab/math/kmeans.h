#pragma once
// k-means with weighted squared errors: scalars (tables) or vectors (books), each coordinate of each point with its own
// weight where wanted (second moments, Fisher information).

#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"

namespace sparing::math {

struct KMeansOptions {
  std::int64_t clusters = 16;    ///< 1 to 256
  std::int64_t iterations = 20;  ///< of Lloyd's for vectors, at most; ends earlier where nothing moves
  std::uint64_t seed = 0;
};

struct KMeans {
  std::vector<float> centres;       ///< [clusters, dim]; scalars ascend
  std::vector<std::uint8_t> codes;  ///< of every point: its nearest centre, the lowest of equals
  double loss = 0;                  ///< sum of weight * (point - centre)^2
};

/// points [count, dim], at least one, finite; dim 1 to 8; weights [count, dim], not negative, or empty: all 1. Scalars
/// are clustered with the least loss there is, whatever the seed. Vectors start from centres drawn with a probability
/// that grows with a point's weighted squared distance to those drawn before (k-means++, Arthur and Vassilvitskii,
/// 2007); a centre without points goes to the point of the largest error. Fewer distinct points than clusters leave
/// doubles. Bits depend on the seed alone.
KMeans k_means(std::span<const float> points, std::int64_t dim, std::span<const float> weights,
               const KMeansOptions& options, ThreadPool& pool);

/// The scalars' centres, ascending; time grows with clusters * count * log(count).
std::vector<float> scalar_centres(std::span<const float> points, std::span<const float> weights, std::int64_t clusters);

/// Centres ready for nearest-neighbour searches under weights that differ from point to point.
class WeightedNearest {
 public:
  /// centres [count, dim], count at most 256.
  WeightedNearest(std::span<const float> centres, std::int64_t dim);
  /// The centre of least sum over j of weight[j] * (point[j] - centre[j])^2; weight may be null (ones).
  std::uint8_t find(const float* point, const float* weight) const;

 private:
  std::int64_t dim_, padded_;
  std::vector<float> columns_, norms_;  ///< squares, then values, [2 * dim, padded]
};

}  // namespace sparing::math
