#include <cmath>
#include <cstring>

#include <gtest/gtest.h>

#include "methods/planted_outputs.h"

namespace sparing {
namespace {

using testing::Outputs;

// By hand: the outputs lie along (3, 4), whatever the weights of the inputs that never fire.
TEST(Afm, OneComponentHoldsOutputsOnALine) {
  const std::vector<float> weight{3, 7, 4, -9}, moment{10, 0, 0, 0};
  const Method& afm = *find_method("afm").value();
  const Statistics statistics{2, 10, moment};
  const SiteProblem problem{.site = "test", .rows = 2, .cols = 2, .weight = weight, .statistics = &statistics};
  const auto result = afm.apply(problem, Params::make(afm, {{"rank", "1"}, {"factors", "f16"}}).value());
  ASSERT_TRUE(result.ok()) << result.error().message;
  float values[4];
  decode_rows(result->weight, 0, 2, values);
  EXPECT_NEAR(values[0], 3, 0.05);
  EXPECT_NEAR(values[2], 4, 0.05);
}

// One mathematics, two front doors: the same bits as lord, and features are of lower rank than weights.
TEST(Afm, IsLordsMathematics) {
  const Outputs c(40, 64, 8);
  for (const std::string rank : {"2", "8", "20"}) {
    const CodedWeight afm = c.code("afm", {{"rank", rank}}).value().weight,
                      lord = c.code("lord", {{"rank", rank}}).value().weight;
    const Bytes a = afm.terms[0].blob.bytes, b = lord.terms[0].blob.bytes;
    ASSERT_EQ(a.size(), b.size());
    EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size()), 0) << rank;
    EXPECT_LT(c.error(afm), 0.9 * c.error(c.code("afm", {{"rank", rank}}, true).value().weight)) << rank;
  }
}

TEST(Afm, SaysWhenStatisticsAreMissing) {
  const Outputs c(4, 20, 9);
  const Method& afm = *find_method("afm").value();
  const SiteProblem problem{.site = "test", .rows = 4, .cols = 20, .weight = c.weight};
  const auto result = afm.apply(problem, Params::make(afm, {{"rank", "1"}}).value());
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message.find("[afm] test has no calibration statistics"), std::string::npos);
}

}  // namespace
}  // namespace sparing
