#include <gtest/gtest.h>

#include "base/rng.h"
#include "base/thread_pool.h"
#include "methods/method.h"

namespace sparing {
namespace {

using Given = std::vector<std::pair<std::string, std::string>>;

struct Case {
  std::int64_t rows = 24, cols = 96;
  std::vector<float> weight, moment;

  Case() {
    Rng rng(8);
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
  Result<SiteResult> code(const std::string& method, const Given& given) const {
    const Method& m = *find_method(method).value();
    const Statistics statistics{cols, 400, moment};
    SiteProblem problem;
    problem.site = "test";
    problem.rows = rows;
    problem.cols = cols;
    problem.weight = weight;
    problem.statistics = &statistics;
    return m.apply(problem, Params::make(m, given).value());
  }
  // The quadratic loss that a linear layer's outputs would have, and its gradient by the values.
  double loss(const std::vector<float>& values, std::vector<float>* gradient) const {
    double total = 0;
    const auto n = static_cast<std::size_t>(cols);
    for (std::size_t r = 0; r < static_cast<std::size_t>(rows); ++r)
      for (std::size_t i = 0; i < n; ++i) {
        double sum = 0;
        for (std::size_t j = 0; j < n; ++j)
          sum += (static_cast<double>(values[r * n + j]) - weight[r * n + j]) * moment[i * n + j];
        total += sum * (static_cast<double>(values[r * n + i]) - weight[r * n + i]);
        if (gradient) (*gradient)[r * n + i] = static_cast<float>(2 * sum);
      }
    return total;
  }
  // What is reached by `steps` steps against that loss, from the start.
  std::pair<double, double> trained(const Given& given, int steps) const {
    const SiteResult start = code("signround", given).value();
    ThreadPool pool(1);
    std::vector<float> values(weight.size()), gradient(weight.size());
    double first = 0, best = 0;
    for (int step = 0; step <= steps; ++step) {
      start.trainable->values(values, pool);
      const double now = loss(values, &gradient);
      if (step == 0) first = best = now;
      best = std::min(best, now);
      start.trainable->step(gradient, 1.0 - static_cast<double>(step) / steps, pool);
    }
    return {first, best};
  }
};

std::vector<float> decoded(const SiteResult& result) {
  std::vector<float> values(static_cast<std::size_t>(result.weight.rows * result.weight.cols));
  decode_effective_rows(result.weight, 0, result.weight.rows, values.data());
  return values;
}

TEST(Signround, StartsWhereItIsAskedTo) {
  const Case c;
  const SiteResult gptq = c.code("gptq", {{"bits", "3"}, {"group", "32"}}).value();
  const Given second_order{{"bits", "3"}, {"group", "32"}, {"start", "second_order"}, {"moves", "size"}};
  const SiteResult start = c.code("signround", second_order).value();
  EXPECT_EQ(decoded(start), decoded(gptq));
  const SiteResult rounded = c.code("signround", {{"bits", "3"}, {"group", "32"}, {"start", "rtn"}}).value();
  EXPECT_GT(c.loss(decoded(rounded), nullptr), 2 * c.loss(decoded(start), nullptr));
  ASSERT_NE(start.trainable, nullptr);
  ThreadPool pool(1);
  std::vector<float> values(c.weight.size());
  start.trainable->values(values, pool);
  EXPECT_EQ(values, decoded(start));
  EXPECT_EQ(c.code("signround", {{"steps", "0"}, {"group", "32"}})->trainable, nullptr);
}

// On correlated inputs signed steps take rounding's codes to less than half of rounding's error: the paper's claim.
TEST(Signround, SignedStepsHalveTheErrorOfRounding) {
  const Case c;
  for (const std::string bits : {"2", "3", "4"}) {
    const auto [first, best] =
        c.trained({{"bits", bits}, {"group", "32"}, {"start", "rtn"}, {"moves", "sign"}, {"reach", "0.5"}}, 60);
    EXPECT_LT(best, 0.5 * first) << bits;
  }
}

TEST(Signround, ItsScheduleIsWhatTheParametersSay) {
  const Method& method = *find_method("signround").value();
  const Params params = Params::make(method, {{"steps", "7"},
                                              {"batch", "3"},
                                              {"checks", "5"},
                                              {"target", "block"},
                                              {"loss", "plain"},
                                              {"products", "f32"}})
                            .value();
  const TrainingSchedule schedule = method.schedule(params);
  EXPECT_EQ(schedule.steps, 7);
  EXPECT_EQ(schedule.batch, 3);
  EXPECT_EQ(schedule.checks, 5);
  EXPECT_EQ(schedule.target, TrainingSchedule::Target::block);
  EXPECT_EQ(schedule.loss, TrainingSchedule::Loss::plain);
  EXPECT_EQ(schedule.products, TrainingSchedule::Products::f32);
  EXPECT_TRUE(method.corrects(Params::make(method, {{"start", "second_order"}}).value()));
  EXPECT_FALSE(method.corrects(Params::make(method, {}).value())) << "rounding makes up for nothing";
}

TEST(Signround, SaysWhenStatisticsAreMissing) {
  const Case c;
  const Method& method = *find_method("signround").value();
  SiteProblem problem;
  problem.site = "test";
  problem.rows = c.rows;
  problem.cols = c.cols;
  problem.weight = c.weight;
  const auto result = method.apply(problem, Params::make(method, {}).value());
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message.find("calibrat"), std::string::npos);
}

}  // namespace
}  // namespace sparing
