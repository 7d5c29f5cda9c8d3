#include <gtest/gtest.h>

#include "base/thread_pool.h"
#include "methods/planted_site.h"

namespace sparing {
namespace {

using testing::code_site;
using testing::decoded;
using testing::Given;
using testing::PlantedSite;

struct Case : PlantedSite {
  Case() : PlantedSite(24, 96, 8) {}
  Result<SiteResult> code(const std::string& method, const Given& given) const {
    return code_site(method, weight, rows, moment, given);
  }
  std::pair<double, double> trained(const Given& given, int steps) const {
    return PlantedSite::trained(*code("signround", given)->trainable, steps);
  }
};

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
