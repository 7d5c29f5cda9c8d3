#include "plan/allocate.h"

#include <gtest/gtest.h>

namespace sparing {
namespace {

SurveyedSite site_with(const std::vector<std::pair<std::uint64_t, double>>& points, SiteRole role = SiteRole::linear) {
  SurveyedSite site;
  site.site.role = role;
  for (const auto& [bytes, damage] : points) {
    site.options.push_back({{"gptq", {{"bits", std::to_string(bytes)}}}, bytes});
    site.damage.push_back(damage);
  }
  return site;
}

TEST(Allocate, KnapsackAndIntegerProgramAgree) {
  const PriceTable table = {{{10, 5, 4.0}, {20, 9, 1.0}}, {{10, 5, 3.0}, {25, 4, 0.5}}};
  const auto bytes_only = choose(table, 36, std::nullopt, 1000);
  EXPECT_EQ(**bytes_only, (Choice{1, 0}));  // 30 bytes, 4.0
  EXPECT_EQ(**choose(table, 36, 100.0, 1000), **bytes_only);
  EXPECT_EQ(**choose(table, 100, 9.5, 1000), (Choice{0, 1}));  // both at once would take 13
  EXPECT_FALSE(choose(table, 100, 8.0, 1000)->has_value());
  EXPECT_EQ(bytes_of(table, {1, 1}), 45u);
  EXPECT_DOUBLE_EQ(time_of(table, {1, 1}), 13);
  EXPECT_DOUBLE_EQ(damage_of(table, {1, 1}), 1.5);
}

TEST(Allocate, CandidatesLieAroundTheChoiceOnTheTradeOff) {
  const SurveyedSite site = site_with({{1, 9}, {2, 7}, {3, 8}, {4, 5}, {5, 4}, {6, 3}, {7, 2}});
  EXPECT_EQ(around(site, 4, 1), (std::vector<std::size_t>{3, 4, 5}));
  EXPECT_EQ(around(site, 3, 1), (std::vector<std::size_t>{1, 3, 4})) << "the third is dearer and worse than the second";
  EXPECT_EQ(around(site, 0, 2), (std::vector<std::size_t>{0, 1, 3}));
  EXPECT_EQ(around(site, 2, 1).size(), 3u) << "what was chosen stays, dominated or not";
  const SurveyedSite dense = site_with({{100, 9}, {101, 8}, {102, 7}, {120, 6}, {121, 5}, {150, 4}});
  EXPECT_EQ(around(dense, 2, 1), (std::vector<std::size_t>{2, 3})) << "nearer ones are passed over";
  EXPECT_EQ(around(site_with({{1, 9}, {2, 7}, {4, 5}, {5, 4}, {6, 3}}, SiteRole::embedding), 2, 1).size(), 5u);
}

TEST(Allocate, RunnerUpSavesTheMostDamageAByte) {
  std::vector<Candidate> candidates(3);
  for (std::size_t i = 0; i < 3; ++i) {
    candidates[i].option.setting = {"gptq", {{"bits", std::to_string(3 + i)}, {"group", "64"}}};
  }
  const std::vector<Priced> prices = {{100, 0, 4.0}, {110, 0, 2.0}, {200, 0, 0.1}};
  const auto next = runner_up(candidates, prices, 0);
  ASSERT_TRUE(next.has_value());
  EXPECT_EQ(next->params, (ParamList{{"bits", "4"}}));
  EXPECT_EQ(next->bytes, 110u);
  EXPECT_FALSE(runner_up(candidates, prices, 2).has_value());
}

}  // namespace
}  // namespace sparing
