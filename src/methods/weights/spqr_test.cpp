#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "methods/planted_site.h"

namespace sparing {
namespace {

using testing::Given;

struct Case {
  std::int64_t rows = 0, cols = 0;
  std::vector<float> weight, moment;

  Result<SiteResult> code(const std::string& method, const Given& given) const {
    return testing::code_site(method, weight, rows, moment, given, 1000);
  }
  double bits_a_weight(const std::string& method, const Given& given) const {
    const Method& m = *find_method(method).value();
    return 8.0 * static_cast<double>(predicted_bytes(m, Params::make(m, given).value(), rows, cols).value()) /
           static_cast<double>(rows * cols);
  }
};

Case with_identity(std::vector<float> weight) {
  Case c{1, static_cast<std::int64_t>(weight.size()), std::move(weight), {}};
  c.moment = testing::identity(c.cols);
  return c;
}

/// Normal weights of which a few are large, inputs near a space of few dimensions.
Case planted(std::int64_t rows, std::int64_t cols, double outliers, std::uint64_t seed) {
  Rng rng(seed);
  Case c{rows, cols, {}, {}};
  for (std::int64_t i = 0; i < rows * cols; ++i)
    c.weight.push_back(static_cast<float>((rng.uniform() < outliers ? 0.5 : 0.05) * rng.normal()));
  c.moment = testing::planted_moment(cols, 12, 0.5, 2 * cols, rng);
  return c;
}

// By hand: one group of eight, 2 bits. Without the 9 the others are -1 .. 2, whole steps: scale 1, minimum -1. The 9 is
// the outlier and comes back as the nearest point 2 and a rest of 7.
TEST(Spqr, KeepsTheWeightThatSpoilsItsGroup) {
  const Case c = with_identity({-1, 0, 1, 2, 9, -1, 2, 0});
  const SiteResult result = c.code("spqr", {{"bits", "2"},
                                            {"group", "8"},
                                            {"super", "1"},
                                            {"outliers", "12.5"},
                                            {"scale_offset", "0"},
                                            {"scale_bits", "1"},
                                            {"zero_bits", "1"},
                                            {"refine", "0"},
                                            {"damping", "0"}})
                                .value();
  ASSERT_EQ(result.weight.terms.size(), 2u);
  std::vector<float> values(8), grid(8);
  decode_rows(result.weight, 0, 1, values.data());
  EXPECT_EQ(values, c.weight);
  CodedWeight base = result.weight;
  base.terms.pop_back();
  decode_rows(base, 0, 1, grid.data());
  EXPECT_EQ(grid, (std::vector<float>{-1, 0, 1, 2, 2, -1, 2, 0}));
}

TEST(Spqr, WithoutOutliersThereIsOneTerm) {
  const Case c = planted(4, 64, 0, 1);
  const auto result = c.code("spqr", {{"outliers", "0"}});
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_EQ(result->weight.terms.size(), 1u);
  const auto all = c.code("spqr", {{"outliers", "20"}});
  ASSERT_TRUE(all.ok()) << all.error().message;
  EXPECT_LT(all->report.output_error, 0.7 * result->report.output_error);
}

// 3 + 6 / 16 + 32 / 256 bits and 32 an outlier: the claim's 3.5 to 3.9 bits, to the byte (and row starts).
TEST(Spqr, TakesTheBitsThatItSays) {
  const Case c{64, 768, {}, {}};
  EXPECT_NEAR(c.bits_a_weight("spqr", {{"outliers", "0"}}), 3.5, 0.01);
  EXPECT_NEAR(c.bits_a_weight("spqr", {{"outliers", "1"}}), 3.5 + 0.32 + 32.0 / 768, 0.03);
}

// The paper's claim on data planted to show it: at no more bytes, less output error than GPTQ with groups.
TEST(Spqr, BeatsGptqWhereThereAreOutliers) {
  for (const std::uint64_t seed : {1, 2, 3}) {
    const Case c = planted(48, 256, 0.005, seed);
    const Given spqr{{"outliers", "0.5"}}, gptq{{"bits", "3"}, {"group", "32"}, {"zero", "min"}};
    EXPECT_LE(c.bits_a_weight("spqr", spqr), c.bits_a_weight("gptq", gptq));
    EXPECT_LT(c.code("spqr", spqr)->report.output_error, 0.8 * c.code("gptq", gptq)->report.output_error) << seed;
  }
}

TEST(Spqr, RefinementLowersTheErrorUnderCodedScalesToo) {
  const Case c = planted(24, 256, 0.005, 4);
  const double before = c.code("spqr", {{"refine", "0"}})->report.output_error;
  EXPECT_LT(c.code("spqr", {{"refine", "2"}})->report.output_error, 0.9 * before);
}

TEST(Spqr, RefusesWhatDoesNotGoTogether) {
  const Case c = planted(2, 32, 0, 5);
  for (const Given& given : {Given{{"scale_offset", "5"}}, Given{{"group", "64"}}}) {
    const auto result = c.code("spqr", given);
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.error().kind, ErrorKind::usage);
    EXPECT_NE(result.error().message.find(given[0].first + "=" + given[0].second), std::string::npos);
  }
}

}  // namespace
}  // namespace sparing
