#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "base/testing.h"
#include "lab/math/cholesky.h"
#include "lab/math/gemm.h"
#include "lab/math/obq.h"
#include "lab/math/simd.h"

namespace sparing::math {
namespace {

using testkit::normals;

// sum of x x' over `tokens` correlated rows.
std::vector<float> moments(std::int64_t n, std::int64_t tokens, std::uint64_t seed) {
  std::vector<float> x = normals(n * tokens, seed);
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t j = 1; j < n; ++j)
      x[static_cast<std::size_t>(t * n + j)] += 0.8f * x[static_cast<std::size_t>(t * n + j - 1)];
  ThreadPool pool(1);
  std::vector<float> h(static_cast<std::size_t>(n * n));
  add_gram(tokens, n, x.data(), n, h.data(), pool);
  mirror_upper(n, h.data());
  return h;
}

TEST(Simd, EverySetGivesTheSameBits) {
  const Simd& truth = simd_generic;
  for (const char* name : {"avx2", "avx512"}) {
    const Simd* const set = simd_named(name);
    if (!set) {
      std::printf("this machine has no %s\n", name);
      continue;
    }
    for (const std::int64_t n : {1, 15, 16, 17, 64, 67, 333}) {
      const auto x = normals(n, 1), y = normals(n, 2);
      EXPECT_EQ(set->dot(n, x.data(), y.data()), truth.dot(n, x.data(), y.data())) << name << n;
      auto a = y, b = y;
      set->axpy(n, 0.37f, x.data(), a.data());
      truth.axpy(n, 0.37f, x.data(), b.data());
      EXPECT_EQ(a, b) << name << n;
      const GridTrial trial{3.1f, 1 / 3.1f, 4, 7};
      for (const float* weight : {static_cast<const float*>(nullptr), y.data()})
        EXPECT_EQ(set->trial_loss(n, x.data(), weight, trial), truth.trial_loss(n, x.data(), weight, trial))
            << name << n;
    }
  }
}

TEST(Simd, TrialLossIsTheGridsError) {
  const std::vector<float> v{0.2f, 0.9f, 2.6f, -5.0f}, weight{1, 2, 3, 0.5f};
  const GridTrial trial{1, 1, 1, 3};  // values -1 .. 2
  const float expected = 0.04f + 2 * 0.01f + 3 * 0.36f + 0.5f * 16;
  EXPECT_NEAR(simd().trial_loss(4, v.data(), weight.data(), trial), expected, 1e-5);
}

template <class T>
void compare_gemm(std::int64_t m, std::int64_t n, std::int64_t k, bool a_turned, bool b_turned) {
  SCOPED_TRACE(testing::Message() << m << " x " << n << " x " << k << (a_turned ? " a'" : "")
                                  << (b_turned ? " b'" : ""));
  const auto random_a = normals(m * k, 3), random_b = normals(k * n, 4);
  const std::vector<T> a(random_a.begin(), random_a.end()), b(random_b.begin(), random_b.end());
  std::vector<T> c(static_cast<std::size_t>(m * n), T(1));
  const View<T> left = a_turned ? transposed(a.data(), m) : rows_of(a.data(), k),
                right = b_turned ? transposed(b.data(), k) : rows_of(b.data(), n);
  ThreadPool one(1), three(3);
  gemm<T>(m, n, k, T(-0.5), left, right, c.data(), n, one);
  std::vector<T> threaded(c.size(), T(1));
  gemm<T>(m, n, k, T(-0.5), left, right, threaded.data(), n, three);
  EXPECT_EQ(c, threaded);
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      double sum = 0, size = 0;
      for (std::int64_t p = 0; p < k; ++p) {
        const double term = static_cast<double>(left.data[i * left.row_stride + p * left.col_stride]) *
                            right.data[p * right.row_stride + j * right.col_stride];
        sum += term;
        size += std::abs(term);
      }
      // k roundings, each of at most half an ulp of the partial sum.
      const double tolerance = (size + 1) * static_cast<double>(k + 2) * std::numeric_limits<T>::epsilon();
      ASSERT_NEAR(c[static_cast<std::size_t>(i * n + j)], 1 - 0.5 * sum, tolerance);
    }
}

TEST(Gemm, MatchesTheDefinition) {
  for (const bool a_turned : {false, true})
    for (const bool b_turned : {false, true}) {
      compare_gemm<float>(1, 1, 1, a_turned, b_turned);
      compare_gemm<float>(13, 37, 300, a_turned, b_turned);
      compare_gemm<float>(200, 5, 257, a_turned, b_turned);
      compare_gemm<double>(25, 50, 19, a_turned, b_turned);
    }
}

TEST(Gemm, GramIsTheUpperTriangle) {
  const std::int64_t n = 75, tokens = 530;
  const auto x = normals(n * tokens, 5);
  ThreadPool one(1), two(2);
  std::vector<float> whole(static_cast<std::size_t>(n * n)), gram(whole.size());
  gemm<float>(n, n, tokens, 1.0f, transposed(x.data(), n), rows_of(x.data(), n), whole.data(), n, one);
  add_gram(tokens, n, x.data(), n, gram.data(), two);
  mirror_upper(n, gram.data());
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = i; j < n; ++j) {
      EXPECT_EQ(gram[static_cast<std::size_t>(i * n + j)], whole[static_cast<std::size_t>(i * n + j)]);
      EXPECT_EQ(gram[static_cast<std::size_t>(j * n + i)], gram[static_cast<std::size_t>(i * n + j)]);
    }
}

TEST(Cholesky, FactorsGiveBackTheMatrix) {
  for (const std::int64_t n : {1, 7, 96, 97, 230}) {
    const auto h = moments(n, 2 * n + 3, 6);
    std::vector<double> r(h.begin(), h.end());
    ThreadPool pool(2);
    ASSERT_TRUE(factor_reversed<double>(n, r.data(), pool));
    double worst = 0;
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = i; j < n; ++j) {
        double sum = 0;
        for (std::int64_t k = j; k < n; ++k)
          sum += r[static_cast<std::size_t>(i * n + k)] * r[static_cast<std::size_t>(j * n + k)];
        worst = std::max(worst, std::abs(sum - h[static_cast<std::size_t>(i * n + j)]));
      }
    EXPECT_LT(worst, 1e-9 * static_cast<double>(n) * h[0]) << n;
  }
}

TEST(Cholesky, RefusesWhatIsNotPositive) {
  std::vector<double> h{1, 2, 2, 1};
  ThreadPool pool(1);
  EXPECT_FALSE(factor_reversed<double>(2, h.data(), pool));
  std::vector<double> a{1, 2, 2, 1}, b{1, 1};
  EXPECT_FALSE(solve_spd(2, a.data(), b.data()));
}

TEST(Cholesky, Solves) {
  std::vector<double> a{4, 2, 0, 2, 5, 1, 0, 1, 3}, b{8, 15, 11};  // x = (1, 2, 3)
  ASSERT_TRUE(solve_spd(3, a.data(), b.data()));
  EXPECT_NEAR(b[0], 1, 1e-12);
  EXPECT_NEAR(b[1], 2, 1e-12);
  EXPECT_NEAR(b[2], 3, 1e-12);
}

// A grid without bounds: with it, feedback's loss is the sum of pivots times squared rounding errors.
class Integers final : public Grid {
 public:
  std::int64_t group() const override { return 1 << 20; }
  void fit(std::int64_t, std::int64_t, std::span<const float>, std::span<const float>) override {}
  float code(std::int64_t, std::int64_t, float value) override { return std::nearbyint(value); }
};

TEST(Feedback, LossIsBoundedByThePivots) {
  const std::int64_t n = 60, rows = 9;
  const auto h = moments(n, 90, 7);
  ThreadPool pool(2);
  for (const bool descending : {false, true}) {
    const auto metric = make_metric(h, n, {.damping = 0.001, .descending = descending}, pool);
    ASSERT_TRUE(metric.ok());
    auto weight = normals(rows * n, 8);
    for (float& w : weight) w *= 5;
    std::vector<float> decoded(weight.size());
    Integers grid;
    code_with_feedback(weight, rows, *metric, {.block = 16}, grid, decoded, pool);
    double bound = 0;
    for (const float pivot : metric->pivots) bound += 0.25 * pivot;
    for (const double loss : row_losses(weight, decoded, rows, *metric, pool)) EXPECT_LE(loss, bound * 1.0001);
    const auto before = row_losses(weight, decoded, rows, *metric, pool);
    descend(weight, rows, *metric, 10, grid, decoded, pool);
    const auto after = row_losses(weight, decoded, rows, *metric, pool);
    for (std::size_t r = 0; r < before.size(); ++r) EXPECT_LE(after[r], before[r] * 1.0001);
  }
}

// The target is the least-squares answer: what is left of the original output is orthogonal to the inputs.
TEST(Correct, LeavesNothingThatTheInputsCouldExplain) {
  const std::int64_t n = 150, rows = 3, tokens = 450;  // inputs of several blocks
  const auto x = normals(n * tokens, 9), weight = normals(rows * n, 10);
  auto x0 = x, joined = normals(rows * tokens, 12);  // r0 - r, [tokens, rows]
  const auto noise = normals(n * tokens, 11);
  for (std::size_t i = 0; i < x0.size(); ++i) x0[i] += 0.3f * noise[i];
  std::vector<float> damage(static_cast<std::size_t>(n * n)), residual(static_cast<std::size_t>(rows * n)),
      h(damage.size());
  ThreadPool pool(2);
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t j = 0; j < n; ++j) {
      const float to = x[static_cast<std::size_t>(t * n + j)];
      for (std::int64_t i = 0; i < n; ++i)
        damage[static_cast<std::size_t>(i * n + j)] +=
            (x0[static_cast<std::size_t>(t * n + i)] - x[static_cast<std::size_t>(t * n + i)]) * to;
      for (std::int64_t r = 0; r < rows; ++r)
        residual[static_cast<std::size_t>(r * n + j)] += joined[static_cast<std::size_t>(t * rows + r)] * to;
    }
  add_gram(tokens, n, x.data(), n, h.data(), pool);
  mirror_upper(n, h.data());
  for (const bool descending : {false, true}) {
    const auto metric = make_metric(h, n, {.damping = 0, .descending = descending}, pool);
    ASSERT_TRUE(metric.ok());
    const auto target = corrected_target(weight, rows, *metric, damage, residual, 1.0f, pool);
    for (std::int64_t r = 0; r < rows; ++r) {
      std::vector<double> left(static_cast<std::size_t>(n));
      for (std::int64_t t = 0; t < tokens; ++t) {
        double rest = joined[static_cast<std::size_t>(t * rows + r)];
        for (std::int64_t i = 0; i < n; ++i)
          rest +=
              static_cast<double>(weight[static_cast<std::size_t>(r * n + i)]) *
                  x0[static_cast<std::size_t>(t * n + i)] -
              static_cast<double>(target[static_cast<std::size_t>(r * n + i)]) * x[static_cast<std::size_t>(t * n + i)];
        for (std::int64_t j = 0; j < n; ++j)
          left[static_cast<std::size_t>(j)] += rest * x[static_cast<std::size_t>(t * n + j)];
      }
      for (const double v : left) EXPECT_NEAR(v, 0, 1e-3 * tokens);
    }
    EXPECT_EQ(corrected_target(weight, rows, *metric, damage, residual, 0.0f, pool), weight);
  }
}

TEST(Metric, RefusesWhatIsNotFinite) {
  ThreadPool pool(1);
  std::vector<float> h{1, 0, 0, NAN};
  EXPECT_FALSE(make_metric(h, 2, {}, pool).ok());
  h = {1, INFINITY, INFINITY, 1};
  EXPECT_FALSE(make_metric(h, 2, {}, pool).ok());
  h = {1, 0, 0, -1};
  EXPECT_FALSE(make_metric(h, 2, {}, pool).ok());
}

}  // namespace
}  // namespace sparing::math
