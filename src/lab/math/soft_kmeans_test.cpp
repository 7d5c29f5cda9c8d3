#include "lab/math/soft_kmeans.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "tensor/half.h"

namespace sparing::math {
namespace {

/// The plain form: every point has its row of every map. Values, and the gradient by the points of sum of g * value,
/// by automatic differentiation in its simplest form: each number carries its derivative by one point.
struct Dual {
  double value = 0, slope = 0;
};
Dual operator+(Dual a, Dual b) {
  return {a.value + b.value, a.slope + b.slope};
}
Dual operator-(Dual a, Dual b) {
  return {a.value - b.value, a.slope - b.slope};
}
Dual operator*(Dual a, Dual b) {
  return {a.value * b.value, a.slope * b.value + a.value * b.slope};
}
Dual operator/(Dual a, Dual b) {
  return {a.value / b.value, (a.slope * b.value - a.value * b.slope) / (b.value * b.value)};
}
Dual exp(Dual a) {
  return {std::exp(a.value), std::exp(a.value) * a.slope};
}

std::vector<Dual> plain(const std::vector<double>& points, std::size_t moving, const std::vector<float>& importance,
                        const std::vector<float>& centres, const SoftKMeansOptions& options) {
  std::vector<Dual> u, c;
  for (std::size_t i = 0; i < points.size(); ++i) u.push_back({points[i], i == moving ? 1.0 : 0.0});
  for (const float v : centres) c.push_back({v, 0});
  const auto map = [&] {
    std::vector<Dual> a;
    for (const Dual& x : u) {
      Dual sum;
      for (const Dual& k : c) {
        a.push_back(exp(Dual{-1 / options.temperature, 0} * (x - k) * (x - k)));
        sum = sum + a.back();
      }
      for (std::size_t k = 0; k < c.size(); ++k) a[a.size() - 1 - k] = a[a.size() - 1 - k] / sum;
    }
    return a;
  };
  for (int t = 0; t < options.iterations; ++t) {
    const std::vector<Dual> a = map();
    for (std::size_t k = 0; k < c.size(); ++k) {
      Dual sum, total;
      for (std::size_t i = 0; i < u.size(); ++i) {
        const Dual m = Dual{importance.empty() ? 1.0 : importance[i], 0} * a[i * c.size() + k];
        sum = sum + m * u[i];
        total = total + m;
      }
      c[k] = sum / total;
    }
  }
  const std::vector<Dual> a = map();
  std::vector<Dual> values(u.size());
  for (std::size_t i = 0; i < u.size(); ++i)
    for (std::size_t k = 0; k < c.size(); ++k) values[i] = values[i] + a[i * c.size() + k] * c[k];
  return values;
}

TEST(SoftKMeans, GradientsAreThoseOfThePlainForm) {
  for (const bool weighted : {false, true})
    for (const int iterations : {1, 3}) {
      Rng rng(5);
      std::vector<std::uint16_t> bits;
      std::vector<double> points;
      std::vector<float> importance, gradient;
      for (int i = 0; i < 60; ++i) {
        // Coarse: many points are alike.
        bits.push_back(f32_to_f16(static_cast<float>(std::round(4 * rng.normal()) / 4)));
        points.push_back(f16_to_f32(bits.back()));
        if (weighted) importance.push_back(static_cast<float>(0.2 + rng.uniform()));
        gradient.push_back(static_cast<float>(rng.normal()));
      }
      const std::vector<float> centres = {-1.2f, -0.3f, 0.4f, 1.1f};
      const SoftKMeansOptions options{.temperature = 0.3, .iterations = iterations};
      const SoftKMeans soft(bits, importance, centres, options);
      std::vector<float> found(points.size());
      soft.backward(gradient, found);
      for (std::size_t i = 0; i < points.size(); ++i) {
        const std::vector<Dual> values = plain(points, i, importance, centres, options);
        double want = 0;
        for (std::size_t k = 0; k < values.size(); ++k) {
          want += gradient[k] * values[k].slope;
          if (i == 0) {
            EXPECT_NEAR(soft.value(k), values[k].value, 1e-9);
          }
        }
        EXPECT_NEAR(found[i], want, 1e-5 * (1 + std::abs(want)));
      }
    }
}

TEST(SoftKMeans, CountsWhatItKeeps) {
  std::vector<std::uint16_t> bits;
  for (int i = 0; i < 1000; ++i) bits.push_back(f32_to_f16(static_cast<float>(i % 10)));
  const std::vector<float> centres = {0, 3, 6, 9};
  const SavedBytes saved = SoftKMeans(bits, {}, centres, {.temperature = 1, .iterations = 2}).saved();
  EXPECT_EQ(saved.plain, 2 * 3 * 1000 * 4 * 4);
  EXPECT_EQ(saved.marshalled, 3 * 1000 * 4 * 4);
  EXPECT_EQ(saved.unique, 3 * 10 * 4 * 4 + 1000 * 2);
}

// Cold, it is k-means: points take their nearest centre, and centres the means of their points.
TEST(SoftKMeans, ColdItIsKMeans) {
  std::vector<std::uint16_t> bits;
  for (const float v : {0.0f, 1.0f, 10.0f, 11.0f, 12.0f}) bits.push_back(f32_to_f16(v));
  const std::vector<float> centres = {2, 9};
  const SoftKMeans soft(bits, {}, centres, {.temperature = 1e-3, .iterations = 1});
  EXPECT_DOUBLE_EQ(soft.centres()[0], 0.5);
  EXPECT_DOUBLE_EQ(soft.centres()[1], 11.0);
  EXPECT_DOUBLE_EQ(soft.value(4), 11.0);
}

}  // namespace
}  // namespace sparing::math
