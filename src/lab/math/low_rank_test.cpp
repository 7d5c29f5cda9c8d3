#include "lab/math/low_rank.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/testing.h"
#include "codecs/lowrank.h"
#include "lab/math/eigen.h"

namespace sparing::math {
namespace {

using testkit::normals;

std::vector<double> symmetric(std::int64_t n, std::int64_t rank, std::uint64_t seed) {
  const std::vector<float> x = normals(n * rank, seed);
  std::vector<double> a(static_cast<std::size_t>(n * n));
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < n; ++j)
      for (std::int64_t k = 0; k < rank; ++k)
        a[static_cast<std::size_t>(i * n + j)] +=
            static_cast<double>(x[static_cast<std::size_t>(i * rank + k)]) * x[static_cast<std::size_t>(j * rank + k)];
  return a;
}

/// Inputs near a space of few dimensions, of very different sizes.
std::vector<float> inputs(std::int64_t tokens, std::int64_t n, std::uint64_t seed) {
  const std::vector<float> mix = normals(n * 6, 1);
  Rng rng(seed);
  std::vector<float> x(static_cast<std::size_t>(tokens * n));
  for (std::int64_t t = 0; t < tokens; ++t) {
    double z[6];
    for (double& v : z) v = rng.normal();
    for (std::int64_t j = 0; j < n; ++j) {
      double value = 0.4 * rng.normal();
      for (std::int64_t k = 0; k < 6; ++k) value += z[k] * mix[static_cast<std::size_t>(k * n + j)];
      x[static_cast<std::size_t>(t * n + j)] = static_cast<float>(value * (j % 9 == 0 ? 3.0 : 1.0));
    }
  }
  return x;
}

std::vector<float> moment_of(const std::vector<float>& x, std::int64_t n) {
  std::vector<float> h(static_cast<std::size_t>(n * n));
  for (std::size_t t = 0; t < x.size(); t += static_cast<std::size_t>(n))
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < n; ++j)
        h[static_cast<std::size_t>(i * n + j)] +=
            x[t + static_cast<std::size_t>(i)] * x[t + static_cast<std::size_t>(j)];
  return h;
}

/// Sum over the tokens of |(W - approximation) x|^2.
double output_error(const std::vector<float>& w, const std::vector<float>& approximation, std::int64_t cols,
                    const std::vector<float>& x) {
  double total = 0;
  for (std::size_t t = 0; t < x.size(); t += static_cast<std::size_t>(cols))
    for (std::size_t r = 0; r < w.size(); r += static_cast<std::size_t>(cols)) {
      double e = 0;
      for (std::size_t c = 0; c < static_cast<std::size_t>(cols); ++c)
        e += (static_cast<double>(w[r + c]) - approximation[r + c]) * x[t + c];
      total += e * e;
    }
  return total;
}

std::vector<float> product(const LowRank& f, std::int64_t rows, std::int64_t cols, std::int64_t rank) {
  std::vector<float> w(static_cast<std::size_t>(rows * cols));
  for (std::int64_t k = 0; k < rank; ++k)
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t c = 0; c < cols; ++c)
        w[static_cast<std::size_t>(r * cols + c)] +=
            f.outer[static_cast<std::size_t>(k * rows + r)] * f.inner[static_cast<std::size_t>(k * cols + c)];
  return w;
}

TEST(SymmetricEigen, KnownTwoByTwo) {
  ThreadPool pool(1);
  std::vector<double> a{2, 1, 1, 2};
  const Eigen e = symmetric_eigen(2, a, 2, pool);
  EXPECT_NEAR(e.values[0], 3, 1e-14);
  EXPECT_NEAR(e.values[1], 1, 1e-14);
  EXPECT_NEAR(e.vectors[0], std::sqrt(0.5), 1e-14);
  EXPECT_NEAR(e.vectors[1], std::sqrt(0.5), 1e-14);
}

// A x = value x and vectors at right angles: full and deficient rank, multiple values, zeros, one threads' bits.
TEST(SymmetricEigen, VectorsSatisfyTheirEquation) {
  ThreadPool one(1), three(3);
  std::vector<std::vector<double>> matrices;
  for (const std::int64_t n : {1, 2, 3, 17, 90}) matrices.push_back(symmetric(n, n + 2, 3));
  matrices.push_back(symmetric(40, 5, 4));
  matrices.emplace_back(30 * 30);
  matrices.emplace_back(25 * 25);
  for (std::size_t i = 0; i < 25; ++i) matrices.back()[i * 26] = i < 10 ? 2 : -1;
  for (const std::vector<double>& a : matrices) {
    const auto n = static_cast<std::int64_t>(std::lround(std::sqrt(static_cast<double>(a.size()))));
    std::vector<double> work = a;
    const Eigen e = symmetric_eigen(n, work, n, one);
    const double size = std::max(std::fabs(e.values.front()), std::fabs(e.values.back()));
    for (std::int64_t i = 0; i < n; ++i) {
      const double* x = e.vectors.data() + i * n;
      if (i > 0) {
        EXPECT_GE(e.values[static_cast<std::size_t>(i - 1)], e.values[static_cast<std::size_t>(i)]);
      }
      for (std::int64_t r = 0; r < n; ++r) {
        double sum = 0;
        for (std::int64_t c = 0; c < n; ++c) sum += a[static_cast<std::size_t>(r * n + c)] * x[c];
        EXPECT_NEAR(sum, e.values[static_cast<std::size_t>(i)] * x[r], 1e-12 * size + 1e-300);
      }
      for (std::int64_t j = 0; j <= i; ++j) {
        double along = 0;
        for (std::int64_t c = 0; c < n; ++c) along += x[c] * e.vectors[static_cast<std::size_t>(j * n + c)];
        EXPECT_NEAR(along, i == j ? 1 : 0, 1e-12);
      }
    }
    work = a;
    EXPECT_EQ(symmetric_eigen(n, work, n, three).vectors, e.vectors) << n;
    work = a;
    work[0] = INFINITY;
    EXPECT_TRUE(std::isnan(symmetric_eigen(n, work, n, one).values[0]));
  }
}

// What is left is the energy of the components left out, on the tokens that the metric was taken from.
TEST(BestLowRank, LeavesTheEnergyOfTheRest) {
  ThreadPool pool(2);
  for (const auto& [rows, cols] : {std::pair<std::int64_t, std::int64_t>{12, 30}, {40, 18}}) {
    const std::vector<float> w = normals(rows * cols, 7), x = inputs(300, cols, 8), h = moment_of(x, cols);
    const std::int64_t full = std::min(rows, cols);
    const LowRank f = best_low_rank(w, rows, cols, h, full, pool).value();
    for (std::int64_t rank = 1; rank <= full; rank += 4) {
      double rest = 0, whole = 0;
      for (std::int64_t k = 0; k < full; ++k) {
        whole += f.energy[static_cast<std::size_t>(k)];
        if (k >= rank) rest += f.energy[static_cast<std::size_t>(k)];
      }
      EXPECT_NEAR(output_error(w, product(f, rows, cols, rank), cols, x), rest, 1e-4 * whole) << rank;
    }
  }
}

// The claim of EoRA, LoRD and AFM: on text that the factors have not seen, the error at every rank is below plain
// SVD's.
TEST(BestLowRank, BeatsPlainSvdOnHeldOutInputsAtEveryRank) {
  ThreadPool pool(2);
  const std::int64_t rows = 48, cols = 64;
  const std::vector<float> w = normals(rows * cols, 9), seen = inputs(1000, cols, 10), held_out = inputs(300, cols, 11);
  const LowRank whitened = best_low_rank(w, rows, cols, moment_of(seen, cols), 32, pool).value();
  const LowRank plain = best_low_rank(w, rows, cols, {}, 32, pool).value();
  for (std::int64_t rank = 1; rank <= 32; ++rank) {
    const double ours = output_error(w, product(whitened, rows, cols, rank), cols, held_out);
    EXPECT_LT(ours, 0.95 * output_error(w, product(plain, rows, cols, rank), cols, held_out)) << rank;
  }
}

// Coded factors: the error falls with bits towards that of the exact ones; it exceeds that by a share of what the
// components take off, of about the squared error of a grid of so many bits.
TEST(CodeLowRank, ErrorFallsWithBits) {
  ThreadPool pool(2), one(1);
  const std::int64_t rows = 48, cols = 70, rank = 6;
  const std::vector<float> w = normals(rows * cols, 12), x = inputs(400, cols, 13);
  const Metric metric = make_metric(moment_of(x, cols), cols, {}, pool).value();
  const LowRank f = best_low_rank(w, rows, cols, metric.h, rank, pool).value();
  const double exact = output_error(w, product(f, rows, cols, rank), cols, x);
  double taken = 0, before = INFINITY;
  for (const double energy : f.energy) taken += energy;
  for (const FactorSpec& factor : {FactorSpec{4, 32}, FactorSpec{8, 32}, FactorSpec{16, 0}}) {
    const LowRankSpec spec{static_cast<std::int32_t>(rank), factor, factor};
    CodedWeight coded{.rows = rows, .cols = cols, .input = {}, .terms = {}};
    coded.terms.push_back(code_low_rank(spec, w, rows, metric, f, pool).value());
    ASSERT_TRUE(validate(coded, true).ok());
    std::vector<float> values(w.size());
    decode_rows(coded, 0, rows, values.data());
    const double error = output_error(w, values, cols, x);
    EXPECT_LT(error, before) << factor.bits;
    EXPECT_LT(error, exact + (factor.bits == 4 ? 0.03 : 2e-4) * taken) << factor.bits;
    before = error;
    const Term again = code_low_rank(spec, w, rows, metric, f, one).value();
    EXPECT_TRUE(std::ranges::equal(again.blob.bytes, coded.terms[0].blob.bytes)) << "other bits with one thread";
  }
}

TEST(CodeLowRank, SurvivesMatricesOfLessRankAndRefusesHugeOnes) {
  ThreadPool pool(1);
  std::vector<float> w(20 * 24);
  for (std::size_t i = 0; i < w.size(); ++i) w[i] = 0.01f * static_cast<float>(i / 24) * static_cast<float>(i % 24);
  std::vector<float> h(24 * 24);
  for (std::size_t i = 0; i < 24; ++i) h[i * 25] = 1;
  const Metric metric = make_metric(h, 24, {}, pool).value();
  const LowRankSpec spec{5, {16, 0}, {16, 0}};
  const LowRank f = best_low_rank(w, 20, 24, metric.h, 5, pool).value();
  CodedWeight coded{.rows = 20, .cols = 24, .input = {}, .terms = {}};
  coded.terms.push_back(code_low_rank(spec, w, 20, metric, f, pool).value());
  std::vector<float> values(w.size());
  decode_rows(coded, 0, 20, values.data());
  for (std::size_t i = 0; i < w.size(); ++i) EXPECT_NEAR(values[i], w[i], 0.01);
  for (float& v : w) v *= 1e30f;
  const LowRank huge = best_low_rank(w, 20, 24, metric.h, 5, pool).value();
  EXPECT_FALSE(code_low_rank(spec, w, 20, metric, huge, pool).ok());
  EXPECT_FALSE(code_low_rank({5, {8, 64}, {8, 64}}, w, 20, metric, huge, pool).ok());
}

}  // namespace
}  // namespace sparing::math
