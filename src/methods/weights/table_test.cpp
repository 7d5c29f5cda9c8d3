#include <gtest/gtest.h>

#include <cmath>

#include "base/testing.h"
#include "methods/method.h"

namespace sparing {
namespace {

using Given = std::vector<std::pair<std::string, std::string>>;

struct Coded {
  SiteResult result;
  std::vector<float> values;
};

Coded code(const std::string& name, const std::vector<float>& weight, std::int64_t cols, const Given& given) {
  const Method& method = *find_method(name).value();
  SiteProblem problem;
  problem.site = "test";
  problem.cols = cols;
  problem.rows = static_cast<std::int64_t>(weight.size()) / cols;
  problem.weight = weight;
  auto result = method.apply(problem, Params::make(method, given).value());
  EXPECT_TRUE(result.ok()) << result.error().message;
  Coded coded{std::move(result).value(), std::vector<float>(weight.size())};
  decode_effective_rows(coded.result.weight, 0, problem.rows, coded.values.data());
  return coded;
}

std::vector<float> table_in(const Coded& coded) {
  return std::get<LutGroupSpec>(coded.result.weight.terms.front().spec).table;
}

using testkit::normals;

/// The value that a standard normal variable is below with this probability.
double normal_quantile(double p) {
  double low = -10, high = 10;
  for (int i = 0; i < 200; ++i) {
    const double middle = (low + high) / 2;
    (std::erfc(-middle / std::sqrt(2.0)) / 2 < p ? low : high) = middle;
  }
  return (low + high) / 2;
}

// arXiv:2305.14314: 8 steps of probability from 1/2 up to the tail and 7 down to it, zero in both, scaled to 1.
TEST(TableMethod, Nf4IsTheQuantilesOfTheNormal) {
  const double tail = (1 - 1.0 / 32 + 1 - 1.0 / 30) / 2;
  const double most = normal_quantile(tail);
  std::vector<double> expected;
  for (int i = 7; i >= 1; --i) expected.push_back(-normal_quantile(0.5 + (tail - 0.5) * i / 7) / most);
  for (int i = 0; i <= 8; ++i) expected.push_back(normal_quantile(0.5 + (tail - 0.5) * i / 8) / most);
  const std::vector<float> table = table_in(code("table", normals(64, 4, 0.02), 64, {}));
  ASSERT_EQ(table.size(), expected.size());
  for (std::size_t i = 0; i < table.size(); ++i) EXPECT_NEAR(table[i], expected[i], 2e-6) << i;
}

TEST(TableMethod, TheTwoFp4Differ) {
  const std::vector<float> fp4 = table_in(code("table", normals(64, 4, 0.02), 64, {{"table", "fp4"}}));
  const std::vector<float> e2m1 = table_in(code("table", normals(64, 4, 0.02), 64, {{"table", "e2m1"}}));
  const double twelfths[] = {0, 0.0625, 2, 3, 4, 6, 8, 12}, sixths[] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_FLOAT_EQ(fp4[8 + i], static_cast<float>(twelfths[i] / 12));
    EXPECT_FLOAT_EQ(e2m1[8 + i], static_cast<float>(sixths[i] / 6));
    EXPECT_EQ(fp4[7 - i], -fp4[8 + i]);
    EXPECT_EQ(e2m1[7 - i], -e2m1[8 + i]);
  }
}

TEST(TableMethod, ByHand) {
  // The scale is 6; e2m1 has 0, .5, 1, 1.5, 2, 3, 4, 6 of either sign.
  const std::vector<float> weight = {-6, 6, 0.2f, 0.3f, 2.4f, 2.6f, 5.1f, -3.4f};
  const Coded e2m1 = code("table", weight, 8, {{"table", "e2m1"}, {"group", "8"}});
  const std::vector<float> expected = {-6, 6, 0, 0.5f, 2, 3, 6, -3};
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(e2m1.values[i], expected[i], 1e-6) << i;
  // int8: the scale is 127 / 127, -127 is there and -128 is not.
  const std::vector<float> whole = {-127, 127, 3.4f, -0.6f};
  const Coded int8 = code("table", whole, 4, {{"table", "int8"}, {"group", "4"}});
  EXPECT_EQ(int8.values, (std::vector<float>{-127, 127, 3, -1}));
}

TEST(TableMethod, GroupsOfZerosStayZero) {
  std::vector<float> weight(64, 0.0f);
  for (std::size_t i = 32; i < 64; ++i) weight[i] = 1e-3f * static_cast<float>(i);
  for (const char* table : {"nf4", "fp4", "e2m1", "int8"}) {
    for (const char* scale : {"f16", "coded8"}) {
      const Coded coded = code("table", weight, 64, {{"table", table}, {"group", "32"}, {"scale", scale}});
      for (std::size_t i = 0; i < 32; ++i) EXPECT_EQ(coded.values[i], 0.0f) << table << scale;
      EXPECT_GT(coded.values[63], 0.05f);
    }
  }
}

// On normal weights its quantiles are nearer than evenly spaced points, and than either fp4.
TEST(TableMethod, Nf4SuitsNormalWeights) {
  const std::vector<float> weight = normals(64 * 512, 4, 0.02);
  const auto error = [&](const std::string& method, const Given& given) {
    return code(method, weight, 512, given).result.report.weight_error;
  };
  const double nf4 = error("table", {});
  EXPECT_LT(nf4, 0.95 * error("rtn", {{"bits", "4"}, {"symmetric", "true"}}));
  EXPECT_LT(nf4, error("table", {{"table", "fp4"}}));
  EXPECT_LT(nf4, error("table", {{"table", "e2m1"}}));
  EXPECT_LT(error("table", {{"clip", "mse"}}), nf4);
  EXPECT_LT(error("table", {{"table", "int8"}}), 1e-4);
}

// Scales of 8 bits cost a per cent of the error and three eighths of the scales' bytes.
TEST(TableMethod, DoubleQuantisationCostsLittle) {
  const std::vector<float> weight = normals(64 * 512, 4, 0.02);
  const Coded plain = code("table", weight, 512, {{"group", "32"}});
  const Coded coded = code("table", weight, 512, {{"group", "32"}, {"scale", "coded8"}});
  EXPECT_LT(coded.result.report.weight_error, 1.01 * plain.result.report.weight_error);
  const std::uint64_t scales = 64 * 16 * 2, supers = 64 * 2;
  EXPECT_EQ(stored_bytes(plain.result.weight) - stored_bytes(coded.result.weight), scales / 2 - supers);
}

TEST(TableMethod, RefusesWhatF16CannotHold) {
  const Method& method = *find_method("table").value();
  const std::vector<float> weight = {1e9f, 1, 2, 3};
  SiteProblem problem;
  problem.site = "test";
  problem.rows = 1;
  problem.cols = 4;
  problem.weight = weight;
  const auto result = method.apply(problem, Params::make(method, {{"group", "4"}}).value());
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message.find("does not fit in f16"), std::string::npos);
}

}  // namespace
}  // namespace sparing
