#include "lab/math/structured.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include "base/rng.h"

namespace sparing::math {
namespace {

struct Planted {
  std::int64_t rows, cols;
  std::vector<float> weight, h;
  GroupedWeight problem(std::int64_t span = 1) const {
    return {.rows = rows, .cols = cols, .span = span, .weight = weight, .h = h, .row_weights = {}, .damping = 1e-8};
  }
};

/// Correlated inputs: sums of a few sources, half of them nearly copies of each other.
Planted plant(std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
  Planted p{rows, cols, {}, std::vector<float>(static_cast<std::size_t>(cols * cols))};
  Rng rng(seed);
  for (std::int64_t i = 0; i < rows * cols; ++i) p.weight.push_back(static_cast<float>(rng.normal()));
  std::vector<double> x(static_cast<std::size_t>(cols)), h(p.h.size());
  for (int token = 0; token < 400; ++token) {
    double sources[4];
    for (double& s : sources) s = rng.normal();
    for (std::size_t j = 0; j < x.size(); ++j) x[j] = sources[j % 4] + (j / 4 % 2 == 0 ? 0.05 : 1.0) * rng.normal();
    for (std::size_t i = 0; i < x.size(); ++i)
      for (std::size_t j = 0; j < x.size(); ++j) h[i * x.size() + j] += x[i] * x[j];
  }
  for (std::size_t i = 0; i < h.size(); ++i) p.h[i] = static_cast<float>(h[i]);
  return p;
}

/// W H, the wanted outputs against the inputs.
std::vector<float> cross_of(const Planted& p) {
  std::vector<float> cross(p.weight.size());
  for (std::int64_t r = 0; r < p.rows; ++r)
    for (std::int64_t j = 0; j < p.cols; ++j) {
      double sum = 0;
      for (std::int64_t k = 0; k < p.cols; ++k)
        sum += static_cast<double>(p.weight[static_cast<std::size_t>(r * p.cols + k)]) *
               p.h[static_cast<std::size_t>(k * p.cols + j)];
      cross[static_cast<std::size_t>(r * p.cols + j)] = static_cast<float>(sum);
    }
  return cross;
}

/// tr((W - F) H (W - F)'), F zero but on `kept`; each row counted row_weight times.
double loss_of(const Planted& p, const std::vector<std::int32_t>& kept, const std::vector<float>& fitted,
               const std::vector<float>& row_weights = {}) {
  double sum = 0;
  const auto n = static_cast<std::int64_t>(kept.size());
  for (std::int64_t r = 0; r < p.rows; ++r) {
    std::vector<double> e(p.weight.begin() + r * p.cols, p.weight.begin() + (r + 1) * p.cols);
    for (std::int64_t j = 0; j < n; ++j)
      e[static_cast<std::size_t>(kept[static_cast<std::size_t>(j)])] -=
          static_cast<double>(fitted[static_cast<std::size_t>(r * n + j)]);
    double row = 0;
    for (std::size_t i = 0; i < e.size(); ++i)
      for (std::size_t j = 0; j < e.size(); ++j) row += e[i] * e[j] * static_cast<double>(p.h[i * e.size() + j]);
    sum += row * (row_weights.empty() ? 1.0 : static_cast<double>(row_weights[static_cast<std::size_t>(r)]));
  }
  return sum;
}

std::vector<std::int32_t> without(std::int64_t cols, std::int64_t span, const std::vector<std::int32_t>& gone) {
  std::vector<std::int32_t> kept;
  for (std::int32_t j = 0; j < cols; ++j)
    if (std::ranges::count(gone, j / static_cast<std::int32_t>(span)) == 0) kept.push_back(j);
  return kept;
}

class Spans : public testing::TestWithParam<std::int64_t> {};
INSTANTIATE_TEST_SUITE_P(Structured, Spans, testing::Values(1, 2, 6));

// The cumulative loss is what is left once the other inputs have made up for all that is gone, as the least-squares fit
// says too.
TEST_P(Spans, LossesAreThoseOfTheBestFit) {
  const std::int64_t span = GetParam();
  const Planted p = plant(5, 24, 3);
  ThreadPool pool(2);
  const auto ranking = remove_groups(p.problem(span), 3, {}, pool);
  ASSERT_TRUE(ranking.ok());
  ASSERT_EQ(ranking->order.size(), 3u);
  const std::vector<float> cross = cross_of(p);
  std::vector<std::int32_t> gone;
  for (std::size_t k = 0; k < 3; ++k) {
    gone.push_back(ranking->order[k]);
    const auto kept = without(p.cols, span, gone);
    const auto fitted = fit_on_inputs(cross, p.rows, p.h, p.cols, kept, 1e-8, pool);
    ASSERT_TRUE(fitted.ok());
    const double loss = loss_of(p, kept, *fitted);
    EXPECT_NEAR(ranking->loss[k], loss, 1e-3 * loss);
  }
  // Each step takes the group that brute force would.
  for (std::size_t k = 0; k < 3; ++k) {
    double best = INFINITY;
    std::int32_t next = -1;
    for (std::int32_t g = 0; g < p.cols / span; ++g) {
      std::vector<std::int32_t> tried(gone.begin(), gone.begin() + static_cast<std::ptrdiff_t>(k));
      if (std::ranges::find(tried, g) != tried.end()) continue;
      tried.push_back(g);
      const auto one = remove_groups(p.problem(span), static_cast<std::int64_t>(tried.size()), tried, pool);
      ASSERT_TRUE(one.ok());
      if (one->loss.back() >= best) continue;
      best = one->loss.back();
      next = g;
    }
    EXPECT_EQ(ranking->order[k], next);
  }
}

// Half of the inputs are nearly copies: those can go, whatever their weights are.
TEST(Structured, InputsThatOthersCanTellGoFirst) {
  const Planted p = plant(8, 32, 5);
  std::vector<std::int32_t> smallest(32);
  std::iota(smallest.begin(), smallest.end(), 0);
  std::sort(smallest.begin(), smallest.end(), [&](std::int32_t a, std::int32_t b) {
    const auto size = [&](std::int32_t j) {
      double sum = 0;
      for (std::size_t r = 0; r < 8; ++r) sum += std::pow(p.weight[r * 32 + static_cast<std::size_t>(j)], 2);
      return sum;
    };
    return size(a) < size(b);
  });
  ThreadPool pool(1);
  const auto greedy = remove_groups(p.problem(), 12, {}, pool);
  const auto by_size = remove_groups(p.problem(), 12, smallest, pool);
  ASSERT_TRUE(greedy.ok() && by_size.ok());
  EXPECT_LT(greedy->loss.back(), 0.1 * by_size->loss.back());
  for (const std::int32_t j : greedy->order) EXPECT_EQ(j / 4 % 2, 0) << j;
}

TEST(Structured, RowsCountByTheirWeights) {
  const Planted p = plant(4, 16, 9);
  ThreadPool pool(1);
  const std::vector<float> row_weights = {0.0f, 3.0f, 0.5f, 10.0f};
  GroupedWeight problem = p.problem();
  problem.row_weights = row_weights;
  const auto ranking = remove_groups(problem, 5, {}, pool);
  ASSERT_TRUE(ranking.ok());
  const auto kept = without(p.cols, 1, ranking->order);
  const auto fitted = fit_on_inputs(cross_of(p), p.rows, p.h, p.cols, kept, 1e-8, pool);
  ASSERT_TRUE(fitted.ok());
  const double loss = loss_of(p, kept, *fitted, row_weights);
  EXPECT_NEAR(ranking->loss.back(), loss, 1e-3 * loss);
}

TEST(Structured, SameBitsWithAnyNumberOfThreads) {
  const Planted p = plant(7, 40, 11);
  ThreadPool one(1), three(3);
  const auto a = remove_groups(p.problem(2), 12, {}, one), b = remove_groups(p.problem(2), 12, {}, three);
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ(a->order, b->order);
  EXPECT_EQ(a->loss, b->loss);
}

// An input that is a copy of another has half the leverage; one of its own has all of it but the ridge's share.
TEST(Structured, LeverageIsLowWhereInputsRepeat) {
  Planted p{1, 3, {1, 1, 1}, {4, 4, 0, 4, 4, 0, 0, 0, 4}};
  ThreadPool pool(1);
  const auto scores = leverage_scores(p.problem(), 1e-3, pool);
  ASSERT_TRUE(scores.ok());
  EXPECT_NEAR((*scores)[0], 0.5, 2e-3);
  EXPECT_NEAR((*scores)[1], 0.5, 2e-3);
  EXPECT_NEAR((*scores)[2], 1.0, 2e-3);
}

TEST(Structured, WhatIsNotFiniteIsRefused) {
  Planted p = plant(2, 6, 1);
  ThreadPool pool(1);
  p.weight[3] = NAN;
  EXPECT_FALSE(remove_groups(p.problem(), 2, {}, pool).ok());
  p = plant(2, 6, 1);
  p.h[7] = INFINITY;
  EXPECT_FALSE(remove_groups(p.problem(), 2, {}, pool).ok());
  EXPECT_FALSE(leverage_scores(p.problem(), 0.1, pool).ok());
}

// No signal at all: the inputs are as good as one another, and nothing is lost.
TEST(Structured, DeadInputsGoFirst) {
  Planted p = plant(3, 8, 2);
  for (std::size_t i = 0; i < 8; ++i) p.h[5 * 8 + i] = p.h[i * 8 + 5] = 0;
  ThreadPool pool(1);
  const auto ranking = remove_groups(p.problem(), 1, {}, pool);
  ASSERT_TRUE(ranking.ok());
  EXPECT_EQ(ranking->order[0], 5);
}

}  // namespace
}  // namespace sparing::math
