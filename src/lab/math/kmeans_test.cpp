#include "lab/math/kmeans.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/rng.h"
#include "lab/math/simd.h"

namespace sparing::math {
namespace {

TEST(KMeans, ScalarsByHand) {
  ThreadPool pool(1);
  const std::vector<float> points = {11, 0, 10, 1};
  const KMeans plain = k_means(points, 1, {}, {.clusters = 2}, pool);
  EXPECT_EQ(plain.centres, (std::vector<float>{0.5f, 10.5f}));
  EXPECT_EQ(plain.codes, (std::vector<std::uint8_t>{1, 0, 1, 0}));
  EXPECT_DOUBLE_EQ(plain.loss, 1.0);
  // A weight of 3 pulls its centre to (3 * 11 + 10) / 4.
  const KMeans weighted = k_means(points, 1, std::vector<float>{3, 1, 1, 1}, {.clusters = 2}, pool);
  EXPECT_EQ(weighted.centres, (std::vector<float>{0.5f, 10.75f}));
  EXPECT_DOUBLE_EQ(weighted.loss, 0.5 + 3 * 0.0625 + 0.5625);
}

/// The least loss of sorted points over all ways to cut them into runs.
double least_loss(const std::vector<std::pair<float, float>>& sorted, std::size_t from, int clusters) {
  const auto loss_of = [&](std::size_t to) {
    double w = 0, wx = 0, loss = 0;
    for (std::size_t i = from; i < to; ++i)
      w += sorted[i].second, wx += static_cast<double>(sorted[i].second) * sorted[i].first;
    for (std::size_t i = from; i < to && w > 0; ++i) loss += sorted[i].second * std::pow(sorted[i].first - wx / w, 2);
    return loss;
  };
  if (clusters == 1) return loss_of(sorted.size());
  double least = HUGE_VAL;
  for (std::size_t to = from; to <= sorted.size(); ++to)
    least = std::min(least, loss_of(to) + least_loss(sorted, to, clusters - 1));
  return least;
}

TEST(KMeans, ScalarsHaveTheLeastLossOfAllCuts) {
  ThreadPool pool(1);
  for (std::uint64_t seed = 0; seed < 60; ++seed) {
    Rng rng(seed);
    std::vector<float> points, weights;
    std::vector<std::pair<float, float>> sorted;
    for (std::uint64_t i = 0; i < 3 + seed % 12; ++i) {
      points.push_back(static_cast<float>(seed % 3 == 0 ? std::round(2 * rng.normal()) : rng.normal() - 100));
      weights.push_back(static_cast<float>(seed % 2 == 0 ? std::exp(3 * rng.normal()) : std::max(0.0, rng.normal())));
      sorted.emplace_back(points.back(), weights.back());
    }
    std::sort(sorted.begin(), sorted.end());
    for (const int clusters : {1, 2, 4}) {
      const KMeans found = k_means(points, 1, weights, {.clusters = clusters, .seed = seed}, pool);
      const double least = least_loss(sorted, 0, clusters);
      EXPECT_NEAR(found.loss, least, 1e-5 * (1 + least)) << "seed " << seed << ", " << clusters << " clusters";
      EXPECT_TRUE(std::is_sorted(found.centres.begin(), found.centres.end()));
    }
  }
}

// Points without weight take no cluster from those that have one, and fewer points than clusters leave doubles.
TEST(KMeans, ScalarsWithoutWeightAndFewerThanClusters) {
  ThreadPool pool(1);
  const std::vector<float> points = {0, 5, 1, 9}, none(4);
  EXPECT_EQ(k_means(points, 1, std::vector<float>{1, 0, 1, 0}, {.clusters = 2}, pool).loss, 0.0);
  EXPECT_EQ(k_means(points, 1, none, {.clusters = 2}, pool).loss, 0.0);
  EXPECT_EQ(k_means(points, 1, {}, {.clusters = 6}, pool).centres, (std::vector<float>{0, 1, 5, 9, 9, 9}));
}

// Each coordinate counts by its own weight: the second of the first point does not count at all.
TEST(KMeans, CoordinatesHaveWeightsOfTheirOwn) {
  ThreadPool pool(1);
  const std::vector<float> points = {0, 100, 0, 2, 8, 2, 8, 4}, weights = {1, 0, 1, 1, 1, 1, 1, 1};
  const KMeans found = k_means(points, 2, weights, {.clusters = 2}, pool);
  EXPECT_EQ(found.codes[0], found.codes[1]);
  EXPECT_EQ(found.codes[2], found.codes[3]);
  EXPECT_NE(found.codes[0], found.codes[2]);
  const std::size_t left = found.codes[0];
  EXPECT_EQ(found.centres[2 * left], 0.0f);
  EXPECT_EQ(found.centres[2 * left + 1], 2.0f);
  EXPECT_EQ(found.centres[2 * (1 - left) + 1], 3.0f);
}

TEST(KMeans, MoreClustersThanPointsAreExact) {
  ThreadPool pool(1);
  const std::vector<float> points = {1, 2, 3, 3, 2, 1};
  const KMeans found = k_means(points, 2, {}, {.clusters = 16}, pool);
  EXPECT_EQ(found.loss, 0.0);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(found.centres[2u * found.codes[i]], points[2 * i]);
    EXPECT_EQ(found.centres[2u * found.codes[i] + 1], points[2 * i + 1]);
  }
}

TEST(Simd, EverySetFindsTheSameNearest) {
  Rng rng(3);
  std::vector<float> columns(8 * 256), norms(256), y(8);
  for (const char* name : {"avx2", "avx512"}) {
    const Simd* const set = simd_named(name);
    if (set == nullptr) continue;
    for (const std::int64_t n : {16, 64, 256})
      for (int trial = 0; trial < 50; ++trial) {
        for (float& v : columns) v = static_cast<float>(std::round(2 * rng.normal()));  // ties: the lowest is wanted
        for (float& v : norms) v = static_cast<float>(std::round(4 * rng.normal()));
        for (float& v : y) v = static_cast<float>(trial % 2 == 0 ? rng.normal() : std::round(rng.normal()));
        float want = 0, found = 0;
        const std::int64_t at = simd_generic.nearest(n, 8, columns.data(), norms.data(), y.data(), &want);
        EXPECT_EQ(set->nearest(n, 8, columns.data(), norms.data(), y.data(), &found), at) << name;
        EXPECT_EQ(found, want);
      }
  }
}

// Planted clusters are found to their spread, whatever the threads; another seed may lead elsewhere, the same may not.
TEST(KMeans, FindsPlantedClustersWhateverTheThreads) {
  Rng rng(4);
  std::vector<float> planted, points, weights;
  for (int i = 0; i < 64 * 4; ++i) planted.push_back(static_cast<float>(rng.normal()));
  for (int i = 0; i < 8000; ++i) {
    const std::uint64_t k = rng.below(64);
    const double weight = std::exp(rng.normal());
    for (std::size_t j = 0; j < 4; ++j) {
      points.push_back(planted[4 * k + j] + static_cast<float>(0.02 * rng.normal()));
      weights.push_back(static_cast<float>(weight));
    }
  }
  ThreadPool one(1), three(3);
  const KMeans a = k_means(points, 4, weights, {.clusters = 64, .seed = 9}, one);
  const KMeans b = k_means(points, 4, weights, {.clusters = 64, .seed = 9}, three);
  EXPECT_EQ(a.centres, b.centres);
  EXPECT_EQ(a.codes, b.codes);
  double size = 0;
  for (std::size_t i = 0; i < points.size(); ++i) size += static_cast<double>(weights[i]) * points[i] * points[i];
  // The spread alone would be 0.0004; a few planted pairs may share a centre.
  EXPECT_LT(a.loss / size, 0.05);
}

}  // namespace
}  // namespace sparing::math
