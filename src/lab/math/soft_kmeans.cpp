#include "lab/math/soft_kmeans.h"

#include <algorithm>
#include <cmath>

#include "tensor/half.h"

namespace sparing::math {

SoftKMeans::SoftKMeans(std::span<const std::uint16_t> points, std::span<const float> importance,
                       std::span<const float> centres, const SoftKMeansOptions& options)
    : options_(options), clusters_(centres.size()), importance_(importance.begin(), importance.end()) {
  // Different bits in the order of their first points; the index has 16 bits because the points do.
  std::vector<std::int32_t> place(65536, -1);
  index_.reserve(points.size());
  for (std::size_t i = 0; i < points.size(); ++i) {
    std::int32_t& at = place[points[i]];
    if (at < 0) {
      at = static_cast<std::int32_t>(unique_.size());
      unique_.push_back(f16_to_f32(points[i]));
      mass_.push_back(0);
    }
    index_.push_back(static_cast<std::uint16_t>(at));
    mass_[static_cast<std::size_t>(at)] += importance.empty() ? 1.0 : importance[i];
  }
  centres_.emplace_back(centres.begin(), centres.end());
  for (int t = 0; t < options.iterations; ++t) {
    const std::vector<double>& before = centres_.back();
    const std::vector<double>& map = maps_.emplace_back(map_of(before));
    std::vector<double> sums(clusters_), totals(clusters_);
    for (std::size_t u = 0; u < unique_.size(); ++u)
      for (std::size_t k = 0; k < clusters_; ++k) {
        totals[k] += mass_[u] * map[u * clusters_ + k];
        sums[k] += mass_[u] * map[u * clusters_ + k] * unique_[u];
      }
    std::vector<double> after = before;
    double mass = 0;
    for (const double total : totals) mass += total;
    // A centre that next to nothing belongs to stays.
    for (std::size_t k = 0; k < clusters_; ++k) {
      if (!(totals[k] > 1e-9 * mass)) totals[k] = 0;
      if (totals[k] > 0) after[k] = sums[k] / totals[k];
    }
    totals_.push_back(std::move(totals));
    centres_.push_back(std::move(after));
  }
  const std::vector<double>& map = maps_.emplace_back(map_of(centres_.back()));
  values_.resize(unique_.size());
  for (std::size_t u = 0; u < unique_.size(); ++u)
    for (std::size_t k = 0; k < clusters_; ++k) values_[u] += map[u * clusters_ + k] * centres_.back()[k];
}

std::vector<double> SoftKMeans::map_of(const std::vector<double>& centres) const {
  std::vector<double> map(unique_.size() * clusters_);
  for (std::size_t u = 0; u < unique_.size(); ++u) {
    double* const a = map.data() + u * clusters_;
    double least = INFINITY, sum = 0;
    for (std::size_t k = 0; k < clusters_; ++k) {
      a[k] = (unique_[u] - centres[k]) * (unique_[u] - centres[k]) / options_.temperature;
      least = std::min(least, a[k]);
    }
    for (std::size_t k = 0; k < clusters_; ++k) sum += a[k] = std::exp(least - a[k]);
    for (std::size_t k = 0; k < clusters_; ++k) a[k] /= sum;
  }
  return map;
}

SavedBytes SoftKMeans::saved() const {
  const auto maps = static_cast<std::int64_t>(maps_.size()), points = static_cast<std::int64_t>(index_.size()),
             unique = static_cast<std::int64_t>(unique_.size()), clusters = static_cast<std::int64_t>(clusters_);
  return {2 * maps * points * clusters * 4, maps * points * clusters * 4, maps * unique * clusters * 4 + points * 2};
}

// Through z = -(u - c)^2 / temperature and a = softmax(z).
void SoftKMeans::add_map_gradient(const std::vector<double>& map, const std::vector<double>& centres,
                                  std::vector<double>& by_map, std::vector<double>& by_point,
                                  std::vector<double>& by_centre) const {
  for (std::size_t u = 0; u < unique_.size(); ++u) {
    const double* const a = map.data() + u * clusters_;
    const double* const by = by_map.data() + u * clusters_;
    double mean = 0;
    for (std::size_t k = 0; k < clusters_; ++k) mean += a[k] * by[k];
    for (std::size_t k = 0; k < clusters_; ++k) {
      const double move = a[k] * (by[k] - mean) * 2 * (unique_[u] - centres[k]) / options_.temperature;
      by_point[u] -= move;
      by_centre[k] += move;
    }
  }
}

// A point's gradient is linear in the loss's gradient by its own soft value (the last map with the centres held) and in
// its importance (its share in the means), with factors that only depend on the point's value.
void SoftKMeans::backward(std::span<const float> gradient, std::span<float> out) const {
  const std::size_t unique = unique_.size();
  std::vector<double> by_value(unique);
  for (std::size_t i = 0; i < index_.size(); ++i) by_value[index_[i]] += gradient[i];
  std::vector<double> own(unique), shared(unique), by_map(unique * clusters_), by_centre(clusters_), rest(clusters_);
  // The last map: per unit of gradient for the points, with all of it for the centres.
  for (std::size_t u = 0; u < unique; ++u)
    for (std::size_t k = 0; k < clusters_; ++k) by_map[u * clusters_ + k] = centres_.back()[k];
  add_map_gradient(maps_.back(), centres_.back(), by_map, own, rest);
  for (std::size_t u = 0; u < unique; ++u)
    for (std::size_t k = 0; k < clusters_; ++k) {
      by_centre[k] += by_value[u] * maps_.back()[u * clusters_ + k];
      by_map[u * clusters_ + k] *= by_value[u];
    }
  std::vector<double> unused(unique);
  add_map_gradient(maps_.back(), centres_.back(), by_map, unused, by_centre);
  for (int t = options_.iterations - 1; t >= 0; --t) {
    const std::vector<double>&map = maps_[static_cast<std::size_t>(t)], &totals = totals_[static_cast<std::size_t>(t)],
          &before = centres_[static_cast<std::size_t>(t)], &after = centres_[static_cast<std::size_t>(t) + 1];
    std::vector<double> by_before(clusters_), by_point(unique);
    for (std::size_t k = 0; k < clusters_; ++k)
      if (!(totals[k] > 0)) by_before[k] = by_centre[k];
    // Per unit of importance: c = sum of m a u / sum of m a.
    for (std::size_t u = 0; u < unique; ++u)
      for (std::size_t k = 0; k < clusters_; ++k) {
        const double by = totals[k] > 0 ? by_centre[k] / totals[k] : 0.0;
        by_map[u * clusters_ + k] = by * (unique_[u] - after[k]);
        by_point[u] += by * map[u * clusters_ + k];
      }
    std::fill(rest.begin(), rest.end(), 0.0);
    add_map_gradient(map, before, by_map, by_point, rest);
    for (std::size_t u = 0; u < unique; ++u) {
      shared[u] += by_point[u];
      for (std::size_t k = 0; k < clusters_; ++k) by_map[u * clusters_ + k] *= mass_[u];
    }
    add_map_gradient(map, before, by_map, unused, by_before);
    by_centre = std::move(by_before);
  }
  for (std::size_t i = 0; i < index_.size(); ++i)
    out[i] = static_cast<float>(gradient[i] * own[index_[i]] +
                                (importance_.empty() ? 1.0 : importance_[i]) * shared[index_[i]]);
}

}  // namespace sparing::math
