#pragma once
// Differentiable k-means of scalars (DKM, arXiv:2108.12659), with the memory of eDKM (arXiv:2309.00964): points are
// numbers of 16 bits, so there are few different ones, and what gradients need of the map from points to centres is
// kept once for each of them.

#include <cstdint>
#include <span>
#include <vector>

namespace sparing::math {

struct SoftKMeansOptions {
  double temperature = 1e-2;  ///< of the squared distances that decide how much a point belongs to a centre; > 0
  int iterations = 1;         ///< of soft assignment and weighted means, >= 1
};

/// Bytes kept between forward and backward, counted at 4 a number.
struct SavedBytes {
  std::int64_t plain = 0;  ///< every operation keeps its operands: each map twice, by the softmax and by the product
  std::int64_t marshalled = 0;  ///< one copy of each map
  std::int64_t unique = 0;      ///< a row of each map for each different point, and an index of 16 bits a point: what
                                ///< is kept here
};

/// Centres c move to means weighted by how much each point u belongs to them, a = softmax(-(u - c)^2 / temperature),
/// `iterations` times; a point's soft value is then sum of a(u) c with the last centres.
class SoftKMeans {
 public:
  /// points: bits of f16, finite. importance, one each and not negative: what a point counts in the means; empty: 1.
  SoftKMeans(std::span<const std::uint16_t> points, std::span<const float> importance, std::span<const float> centres,
             const SoftKMeansOptions& options);
  const std::vector<double>& centres() const { return centres_.back(); }
  double value(std::size_t point) const { return values_[index_[point]]; }
  SavedBytes saved() const;
  /// Of a loss by the points, given that by their soft values: through the maps and the means of all iterations.
  void backward(std::span<const float> gradient, std::span<float> out) const;

 private:
  std::vector<double> map_of(const std::vector<double>& centres) const;
  void add_map_gradient(const std::vector<double>& map, const std::vector<double>& centres, std::vector<double>& by_map,
                        std::vector<double>& by_point, std::vector<double>& by_centre) const;

  SoftKMeansOptions options_;
  std::size_t clusters_;
  std::vector<float> importance_;
  std::vector<std::uint16_t> index_;            ///< of every point among the different ones
  std::vector<double> unique_, mass_, values_;  ///< of each: itself, its points' importance, its soft value
  std::vector<std::vector<double>> centres_, maps_, totals_;  ///< before and after each iteration; a map for each
};

}  // namespace sparing::math
