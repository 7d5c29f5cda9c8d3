#include "plan/forecast.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "plan/plan.h"

namespace sparing {
namespace {

Plan forecast_plan() {
  Plan plan;
  plan.model_hash = std::string(64, 'a');
  plan.context = 2048;
  plan.budgets = {{std::string(kWeights), 1000}, {std::string(kRam), 5000}, {std::string(kTokenTime), 70}};
  plan.totals = {{std::string(kWeights), 900}, {std::string(kRam), 4900}, {std::string(kTokenTime), 60}};
  plan.forecast.set(kDamage, 0.25);
  plan.forecast.set(kTokensPerSecond, 61.5);
  plan.sites.push_back({"embed", "weight", "rtn", {{"bits", "8"}}, {}, 0.01});
  plan.sites[0].runner_up = RunnerUp{"rtn", {{"bits", "7"}}, 77, 0.5};
  return plan;
}

TEST(Forecast, GoesWithThePlanButNotWithItsHash) {
  const Plan plan = forecast_plan();
  const auto read = plan_from_json(plan_to_json(plan));
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(*read, plan);
  Plan bare = plan;
  bare.forecast = {};
  bare.context = 0;
  bare.sites[0].runner_up.reset();
  EXPECT_EQ(plan_hash(bare), plan_hash(plan));
}

TEST(Forecast, UnknownNamesAndWordsAreRefused) {
  const std::string text = plan_to_json(forecast_plan());
  const auto edited = [&](const std::string& from, const std::string& to) {
    std::string changed = text;
    changed.replace(changed.find(from), from.size(), to);
    return plan_from_json(changed);
  };
  EXPECT_FALSE(edited("\"damage\":0.25", "\"damage\":\"low\"").ok());
  EXPECT_FALSE(edited("\"tokens_per_second\"", "\"colour\"").ok());
  EXPECT_FALSE(edited("\"context\": 2048", "\"context\": -1").ok());
  EXPECT_FALSE(edited("\"bytes\":77", "\"bytes\":\"77\"").ok());
  EXPECT_TRUE(edited("\"bytes\":77", "\"bytes\":78").ok());
}

TEST(Forecast, EveryBudgetIsChecked) {
  for (const auto resource : {kWeights, kRam, kTokenTime}) {
    Plan plan = forecast_plan();
    EXPECT_TRUE(check_budgets(plan).ok());
    plan.totals[std::string(resource)] = 100'000;
    EXPECT_FALSE(check_budgets(plan).ok()) << resource;
    plan.totals.erase(std::string(resource));
    EXPECT_FALSE(check_budgets(plan).ok()) << resource;
  }
}

}  // namespace
}  // namespace sparing
