// Grids with coded scales and minima, and weights kept beside a grid.

#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "base/testing.h"
#include "lab/math/gemm.h"
#include "lab/math/outliers.h"

namespace sparing::math {
namespace {

using testkit::normals;

Metric metric_of(std::int64_t n, std::uint64_t seed) {
  std::vector<float> x = normals(n * 3 * n, seed, 0.05);
  for (std::int64_t t = 0; t < 3 * n; ++t)
    for (std::int64_t j = 1; j < n; ++j)
      x[static_cast<std::size_t>(t * n + j)] += 0.8f * x[static_cast<std::size_t>(t * n + j - 1)];
  ThreadPool pool(1);
  std::vector<float> h(static_cast<std::size_t>(n * n));
  add_gram(3 * n, n, x.data(), n, h.data(), pool);
  mirror_upper(n, h.data());
  return make_metric(h, n, {}, pool).value();
}

IntGroupSpec spec_of(ZeroKind zero, int scale_bits, int offset) {
  IntGroupSpec spec;
  spec.bits = 3;
  spec.groups = {.group = 16, .scale = ScaleKind::coded, .scale_bits = scale_bits, .scale_offset = offset, .super = 4};
  spec.zero = zero;
  spec.zero_bits = zero == ZeroKind::constant ? 0 : 3;
  spec.zero_offset = zero == ZeroKind::constant ? 4 : 0;
  return spec;
}

std::vector<float> unpacked(const IntGrid& grid) {
  CodedWeight weight;
  weight.rows = grid.rows();
  weight.cols = grid.cols();
  weight.terms.push_back(grid.pack().value());
  std::vector<float> values(static_cast<std::size_t>(grid.rows() * grid.cols()));
  decode_rows(weight, 0, grid.rows(), values.data());
  return values;
}

double sum(const std::vector<double>& values) {
  double total = 0;
  for (const double v : values) total += v;
  return total;
}

TEST(CodedLines, DecodeAsTheCodecDoes) {
  const std::vector<float> weight = normals(6 * 200, 1, 0.05);
  ThreadPool pool(1);
  for (const ZeroKind zero : {ZeroKind::constant, ZeroKind::integer, ZeroKind::coded_min})
    for (const auto& [bits, offset] : {std::pair(3, 12), std::pair(3, 0), std::pair(6, 0)})
      for (const Clip clip : {Clip::none, Clip::mse}) {
        IntGrid grid(spec_of(zero, bits, offset), 6, 200, clip);
        round_to_nearest(grid, weight, {}, pool);
        std::vector<float> values(weight.size());
        for (std::int64_t r = 0; r < 6; ++r) grid.decode_row(r, values.data() + r * 200);
        EXPECT_EQ(values, unpacked(grid));
        double error = 0, size = 0;
        for (std::size_t i = 0; i < weight.size(); ++i) {
          error += std::pow(weight[i] - values[i], 2);
          size += std::pow(weight[i], 2);
        }
        EXPECT_LT(error / size, 0.08) << static_cast<int>(zero) << " " << bits << " " << offset;
      }
}

// Scales of one row differ by a factor of two: counting down from 12 they are told apart in 3 bits, counting up they
// are coarse.
TEST(CodedLines, AnOffsetServesScalesOfOneSize) {
  const std::vector<float> weight = normals(16 * 512, 2, 0.05);
  ThreadPool pool(1);
  const auto error = [&](int offset) {
    IntGrid grid(spec_of(ZeroKind::coded_min, 3, offset), 16, 512, Clip::mse);
    round_to_nearest(grid, weight, {}, pool);
    double total = 0;
    const std::vector<float> values = unpacked(grid);
    for (std::size_t i = 0; i < weight.size(); ++i) total += std::pow(weight[i] - values[i], 2);
    return total;
  };
  EXPECT_LT(error(12), error(0));
}

TEST(CodedLines, DescentLowersTheLossOfRows) {
  const std::int64_t rows = 8, n = 128;
  const std::vector<float> weight = normals(rows * n, 3, 0.05);
  const Metric metric = metric_of(n, 4);
  ThreadPool pool(1);
  for (const ZeroKind zero : {ZeroKind::constant, ZeroKind::integer, ZeroKind::coded_min}) {
    IntGrid grid(spec_of(zero, 3, 12), rows, n, Clip::mse);
    round_to_nearest(grid, weight, metric.diagonal, pool);
    std::vector<float> decoded = unpacked(grid);
    const std::vector<double> before = row_losses(weight, decoded, rows, metric, pool);
    EXPECT_GT(refit_scales(weight, rows, metric, grid, decoded, pool), 0);
    EXPECT_EQ(decoded, unpacked(grid));
    const std::vector<double> after = row_losses(weight, decoded, rows, metric, pool);
    for (std::size_t r = 0; r < after.size(); ++r) EXPECT_LE(after[r], before[r] * (1 + 1e-5)) << r;
    EXPECT_LT(sum(after), 0.9 * sum(before)) << static_cast<int>(zero);
  }
}

TEST(CodedLines, RowsDescendAsTheyWouldAlone) {
  const std::int64_t rows = 600, n = 72, alone = 20;  // more rows than descend together
  const std::vector<float> weight = normals(rows * n, 9, 0.05);
  const Metric metric = metric_of(n, 10);
  const auto coded = [&](std::int64_t first, int threads) {
    ThreadPool pool(threads);
    const std::span<const float> part = std::span(weight).subspan(static_cast<std::size_t>(first * n));
    const std::int64_t count = rows - first;
    IntGrid grid(spec_of(ZeroKind::coded_min, 3, 12), count, n, Clip::mse);
    round_to_nearest(grid, part, metric.diagonal, pool);
    std::vector<float> decoded = unpacked(grid);
    refit_scales(part, count, metric, grid, decoded, pool);
    return decoded;
  };
  const std::vector<float> all = coded(0, 1), last = coded(rows - alone, 1);
  EXPECT_TRUE(std::ranges::equal(last, std::span(all).last(last.size())));
  EXPECT_EQ(all, coded(0, 3));
}

TEST(Outliers, ArePickedWhereTheySpoilTheirGroup) {
  const std::int64_t rows = 3, n = 64;
  std::vector<float> weight = normals(rows * n, 5, 0.05);
  weight[10] = 1;
  weight[70] = -0.8f;
  weight[190] = 0.9f;
  ThreadPool pool(1);
  const Outliers found = choose_outliers(weight, rows, metric_of(n, 6), 16, 3, 3, pool);
  EXPECT_EQ(found.row_start, (std::vector<std::uint32_t>{0, 1, 2, 3}));
  EXPECT_EQ(found.columns, (std::vector<std::uint32_t>{10, 6, 62}));
  const std::vector<float> filled = without_outliers(weight, n, 16, found);
  for (const std::size_t at : {10, 70, 190}) EXPECT_LT(std::abs(filled[at]), 0.25f);
}

TEST(Outliers, KeepTheirWeightToHalfPrecision) {
  const std::int64_t rows = 3, n = 64;
  const std::vector<float> weight = normals(rows * n, 7, 0.05);
  ThreadPool pool(1);
  const auto places = std::make_shared<const Outliers>(choose_outliers(weight, rows, metric_of(n, 8), 16, 3, 20, pool));
  IntGrid fitted(spec_of(ZeroKind::coded_min, 3, 12), rows, n, Clip::mse);
  round_to_nearest(fitted, weight, {}, pool);
  const std::vector<float> plain = unpacked(fitted);
  OutlierGrid grid(std::move(fitted), places);
  grid.take(weight);
  const std::vector<float> values = grid.decoded();
  std::size_t kept = 0;
  for (std::size_t row = 0; row < 3; ++row)
    for (std::size_t i = 0; i < 64; ++i) {
      const std::size_t at = row * 64 + i;
      if (values[at] == plain[at]) continue;
      ++kept;
      EXPECT_NEAR(values[at], weight[at], 1e-4);
    }
  EXPECT_GE(kept, 18u);
  EXPECT_LE(kept, 20u);
}

}  // namespace
}  // namespace sparing::math
