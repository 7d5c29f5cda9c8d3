#include <gtest/gtest.h>

#include "base/rng.h"
#include "base/thread_pool.h"
#include "methods/method.h"

namespace sparing {
namespace {

using Given = std::vector<std::pair<std::string, std::string>>;

Result<SiteResult> code(const std::vector<float>& weight, const std::vector<float>& moment, std::int64_t rows,
                        const Given& given) {
  const Method& method = *find_method("edkm").value();
  const std::int64_t cols = static_cast<std::int64_t>(weight.size()) / rows;
  const Statistics statistics{cols, 400, moment};
  SiteProblem problem;
  problem.site = "test";
  problem.rows = rows;
  problem.cols = cols;
  problem.weight = weight;
  problem.statistics = moment.empty() ? nullptr : &statistics;
  return method.apply(problem, Params::make(method, given).value());
}

std::vector<float> identity(std::size_t n) {
  std::vector<float> h(n * n);
  for (std::size_t i = 0; i < n; ++i) h[i * n + i] = 1.0f;
  return h;
}

std::vector<float> decoded(const SiteResult& result) {
  std::vector<float> values(static_cast<std::size_t>(result.weight.rows * result.weight.cols));
  decode_effective_rows(result.weight, 0, result.weight.rows, values.data());
  return values;
}

// Four levels, unevenly spaced, in every row: the table finds them up to its bytes, and each row its own scale.
TEST(Edkm, FourLevelsNeedATableOfFour) {
  const float levels[] = {-4, -1, 1, 2};
  std::vector<float> weight;
  for (const float size : {1.0f, 0.5f, 3.0f})
    for (int i = 0; i < 24; ++i) weight.push_back(size * levels[(i * 7 + i / 4) % 4]);
  const SiteResult result = code(weight, identity(24), 3, {{"bits", "2"}, {"group", "0"}, {"steps", "0"}}).value();
  EXPECT_EQ(describe(result.weight.terms[0].spec), "vq_additive 1x2b v1 g24 f16");
  const std::vector<float> values = decoded(result);
  for (std::size_t i = 0; i < weight.size(); ++i) EXPECT_NEAR(values[i], weight[i], 0.02f * 4 * (i < 48 ? 1 : 3));
  EXPECT_EQ(result.trainable, nullptr);
}

TEST(Edkm, ZerosStayZeros) {
  const std::vector<float> weight(3 * 5);
  const SiteResult zero = code(weight, identity(5), 3, {{"group", "0"}}).value();
  EXPECT_EQ(decoded(zero), weight);
  ASSERT_NE(zero.trainable, nullptr);
  ThreadPool pool(1);
  zero.trainable->step(weight, 1.0, pool);  // no gradient: nothing moves
  std::vector<float> values(weight.size(), 1.0f);
  zero.trainable->values(values, pool);
  EXPECT_EQ(values, weight);
  EXPECT_NE(zero.report.note.find("kept for gradients"), std::string::npos);
}

/// Weights and inputs of which a few directions make up most; the loss that a layer's outputs would have.
struct Planted {
  std::int64_t rows = 24, cols = 96;
  std::vector<float> weight, moment;

  explicit Planted(std::uint64_t seed) {
    Rng rng(seed);
    const auto n = static_cast<std::size_t>(cols);
    for (std::int64_t i = 0; i < rows * cols; ++i) weight.push_back(static_cast<float>(0.05 * rng.normal()));
    std::vector<double> mix(n * 8), x(n);
    for (double& m : mix) m = rng.normal();
    moment.assign(n * n, 0.0f);
    for (int token = 0; token < 400; ++token) {
      for (double& v : x) v = 0.3 * rng.normal();
      for (std::size_t k = 0; k < 8; ++k) {
        const double z = rng.normal();
        for (std::size_t j = 0; j < n; ++j) x[j] += z * mix[j * 8 + k];
      }
      for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = 0; j < n; ++j) moment[i * n + j] += static_cast<float>(x[i] * x[j]);
    }
  }
  double loss(const std::vector<float>& values, std::vector<float>& gradient) const {
    double total = 0;
    const auto n = static_cast<std::size_t>(cols);
    for (std::size_t r = 0; r < static_cast<std::size_t>(rows); ++r)
      for (std::size_t i = 0; i < n; ++i) {
        double sum = 0;
        for (std::size_t j = 0; j < n; ++j)
          sum += (static_cast<double>(values[r * n + j]) - weight[r * n + j]) * moment[j * n + i];
        total += sum * (static_cast<double>(values[r * n + i]) - weight[r * n + i]);
        gradient[r * n + i] = static_cast<float>(2 * sum);
      }
    return total;
  }
  /// The least loss on the way, from codes that were found for `known`.
  double trained(const Given& given, int steps, const std::vector<float>& known) const {
    const SiteResult start = code(weight, known, rows, given).value();
    ThreadPool pool(1);
    std::vector<float> values(weight.size()), gradient(weight.size());
    double best = 0;
    for (int step = 0; step <= steps; ++step) {
      start.trainable->values(values, pool);
      const double now = loss(values, gradient);
      best = step == 0 ? now : std::min(best, now);
      start.trainable->step(gradient, 1.0 - static_cast<double>(step) / std::max(steps, 1), pool);
    }
    return best;
  }
};

// From the same weighted k-means, weights that move with the table end lower than the table's levels alone.
TEST(Edkm, SoftAssignmentBeatsATrainedTable) {
  for (const std::uint64_t seed : {1, 2, 3}) {
    const Planted planted(seed);
    const Given common{{"bits", "3"}, {"group", "32"}, {"start", "nearest"}};
    Given soft = common, table = common;
    soft.emplace_back("learns", "soft");
    table.emplace_back("learns", "table");
    table.emplace_back("reach", "0.1");
    const double by_soft = planted.trained(soft, 60, planted.moment),
                 by_table = planted.trained(table, 60, planted.moment);
    EXPECT_LT(by_soft, 0.8 * by_table);
  }
}

// Second-order codes are not the nearest, so means of what they stand for are not the table that serves best.
TEST(Edkm, ASecondOrderStartStaysWhereThereIsNoGradient) {
  const Planted planted(1);
  const SiteResult start = code(planted.weight, planted.moment, planted.rows, {{"group", "32"}}).value();
  ThreadPool pool(1);
  std::vector<float> before(planted.weight.size()), after(before);
  start.trainable->values(before, pool);
  start.trainable->step(std::vector<float>(before.size()), 1.0, pool);
  start.trainable->values(after, pool);
  for (std::size_t i = 0; i < before.size(); ++i) EXPECT_NEAR(after[i], before[i], 1e-6f);
}

// Nor do those that feedback took past the middle all change their codes once anything moves.
TEST(Edkm, AFirstStepChangesFewOfSecondOrdersCodes) {
  const Planted planted(1);
  const SiteResult start = code(planted.weight, planted.moment, planted.rows, {{"group", "32"}}).value();
  ThreadPool pool(1);
  Rng rng(7);
  std::vector<float> before(planted.weight.size()), after(before), gradient(before);
  for (float& g : gradient) g = static_cast<float>(rng.normal());
  start.trainable->values(before, pool);
  start.trainable->step(gradient, 1.0, pool);
  start.trainable->values(after, pool);
  int changed = 0;
  for (std::size_t i = 0; i < before.size(); ++i) changed += std::abs(after[i] - before[i]) > 0.01f;  // of 0.05
  EXPECT_LT(changed, 0.02 * static_cast<double>(before.size()));
}

// A block's loss is not the one that second-order codes were found for: training goes on from there.
TEST(Edkm, TrainingLowersAnotherLossFromASecondOrderStart) {
  for (const std::uint64_t seed : {1, 2, 3}) {
    const Planted planted(seed);
    std::vector<float> known = planted.moment;
    Rng rng(seed + 100);
    const auto n = static_cast<std::size_t>(planted.cols);
    std::vector<float> sizes(n);
    for (float& s : sizes) s = std::exp(static_cast<float>(0.5 * rng.normal()));
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j) known[i * n + j] *= sizes[i] * sizes[j];
    const Given given{{"group", "32"}};
    const double before = planted.trained(given, 0, known), after = planted.trained(given, 60, known);
    EXPECT_LT(after, 0.9 * before) << before;
  }
}

TEST(Edkm, SaysWhenStatisticsAreMissing) {
  const auto result = code(std::vector<float>(64, 1.0f), {}, 2, {{"group", "16"}});
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message.find("calibrat"), std::string::npos);
  EXPECT_FALSE(code(std::vector<float>(64, 1.0f), identity(32), 2, {}).ok()) << "a group wider than the row";
}

}  // namespace
}  // namespace sparing
