#include <cmath>
#include <cstring>

#include <gtest/gtest.h>

#include "methods/planted_outputs.h"

namespace sparing {
namespace {

using testing::Outputs;

// By hand: magnitudes of rank 1, whatever the signs, are one block.
TEST(Bitstack, MagnitudesOfRankOneTakeOneBlock) {
  const std::vector<float> weight{1, -2, -3, 6}, moment{4, 0, 0, 1};
  const Method& bitstack = *find_method("bitstack").value();
  const Statistics statistics{2, 100, moment};
  const SiteProblem problem{.site = "test", .rows = 2, .cols = 2, .weight = weight, .statistics = &statistics};
  const auto params = Params::make(bitstack, {{"blocks", "1"}, {"rank", "1"}, {"factors", "f16"}}).value();
  const auto result = bitstack.apply(problem, params);
  ASSERT_TRUE(result.ok()) << result.error().message;
  float values[4];
  decode_rows(result->weight, 0, 2, values);
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(values[i], weight[static_cast<std::size_t>(i)], 1e-2) << i;
}

// The paper's claim: any number of blocks from the bottom is the model that so many blocks would have made, and each
// takes off damage.
TEST(Bitstack, AStackOfFewerIsTheBottomOfALargerOne) {
  const Outputs c(40, 64, 5);
  const CodedWeight whole = c.code("bitstack", {{"blocks", "6"}, {"rank", "4"}}).value().weight;
  ASSERT_EQ(whole.terms.size(), 6u);
  double last = 1;
  for (std::size_t blocks = 1; blocks <= 6; ++blocks) {
    const CodedWeight some = c.code("bitstack", {{"blocks", std::to_string(blocks)}, {"rank", "4"}}).value().weight;
    ASSERT_EQ(some.terms.size(), blocks);
    for (std::size_t t = 0; t < blocks; ++t) {
      const Bytes a = some.terms[t].blob.bytes, b = whole.terms[t].blob.bytes;
      ASSERT_EQ(a.size(), b.size());
      EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size()), 0) << blocks << " " << t;
    }
    const double error = c.error(some);
    EXPECT_LT(error, 0.7 * last) << blocks;
    last = error;
  }
}

// Signs are what low rank alone cannot say of a weight without structure.
TEST(Bitstack, BeatsFactorsAloneOfMoreBytes) {
  const Outputs c(96, 128, 6);
  const SiteResult stack = c.code("bitstack", {{"blocks", "2"}, {"rank", "4"}}, true).value(),
                   factors = c.code("lord", {{"share", "0.5"}}, true).value();
  EXPECT_LT(stored_bytes(stack.weight), stored_bytes(factors.weight));
  EXPECT_LT(stack.report.weight_error, 0.5 * factors.report.weight_error);
}

TEST(Bitstack, LargeInputsAreServedFirst) {
  const Outputs c(64, 96, 7);
  EXPECT_LT(c.error(c.code("bitstack", {{"blocks", "2"}, {"rank", "8"}}).value().weight),
            c.error(c.code("bitstack", {{"blocks", "2"}, {"rank", "8"}, {"scale_inputs", "false"}}).value().weight));
}

}  // namespace
}  // namespace sparing
