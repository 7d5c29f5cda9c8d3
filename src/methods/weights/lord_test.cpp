#include <cmath>

#include <gtest/gtest.h>

#include "methods/planted_outputs.h"

namespace sparing {
namespace {

using testing::Outputs;

// By hand: one input twenty times as large as the other. Rank 1 keeps that input's column, though the other's is
// larger.
TEST(Lord, KeepsWhatTheOutputsShow) {
  const std::vector<float> weight{1, 0, 0, 3}, moment{400, 0, 0, 1};
  const Method& lord = *find_method("lord").value();
  const Statistics statistics{2, 100, moment};
  const SiteProblem problem{.site = "test", .rows = 2, .cols = 2, .weight = weight, .statistics = &statistics};
  const auto params = Params::make(lord, {{"rank", "1"}, {"factors", "f16"}, {"damping", "0"}}).value();
  const auto result = lord.apply(problem, params);
  ASSERT_TRUE(result.ok()) << result.error().message;
  float values[4];
  decode_rows(result->weight, 0, 2, values);
  EXPECT_NEAR(values[0], 1, 1e-3);
  EXPECT_NEAR(values[3], 0, 1e-3);
}

// The paper's claim: at every rank less held-out error than SVD of the weight, which is what independent inputs give.
TEST(Lord, BeatsSvdOfTheWeightAtEveryRank) {
  const Outputs c(40, 64, 5);
  for (const std::string rank : {"1", "2", "4", "8", "16", "24", "32"}) {
    const double ours = c.error(c.code("lord", {{"rank", rank}, {"factors", "f16"}}).value().weight),
                 svd = c.error(c.code("lord", {{"rank", rank}, {"factors", "f16"}}, true).value().weight);
    EXPECT_LT(ours, 0.9 * svd) << rank;
  }
}

TEST(Lord, FullRankIsTheWeight) {
  for (const auto& [rows, cols] : {std::pair<std::int64_t, std::int64_t>{20, 32}, {40, 24}}) {
    const Outputs c(rows, cols, 6);
    const std::string rank = std::to_string(std::min(rows, cols));
    EXPECT_LT(c.error(c.code("lord", {{"rank", rank}, {"factors", "f16"}}).value().weight), 1e-5);
    EXPECT_LT(c.error(c.code("lord", {{"rank", rank}, {"factors", "int8"}}).value().weight), 1e-3);
  }
}

TEST(Lord, ShareSetsTheRank) {
  const Outputs c(40, 64, 7);
  const Method& lord = *find_method("lord").value();
  const auto rank = [&](const std::string& share) {
    const auto codings = lord.codings(Params::make(lord, {{"share", share}}).value(), 40, 64).value();
    return std::get<LowRankSpec>(codings.at(0)).rank;
  };
  EXPECT_EQ(rank("0.5"), 12);  // 0.5 * 40 * 64 / 104 = 12.3
  EXPECT_EQ(rank("0.01"), 1);
  EXPECT_EQ(rank("2"), 40);
}

}  // namespace
}  // namespace sparing
