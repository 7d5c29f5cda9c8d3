#include <cmath>

#include <gtest/gtest.h>

#include "base/testing.h"
#include "methods/method.h"

namespace sparing {
namespace {

using Given = std::vector<std::pair<std::string, std::string>>;

SiteProblem problem_of(const std::vector<float>& weight, std::int64_t rows) {
  SiteProblem problem;
  problem.site = "test";
  problem.rows = rows;
  problem.cols = static_cast<std::int64_t>(weight.size()) / rows;
  problem.weight = weight;
  return problem;
}
SiteResult code(const std::string& method, const std::vector<float>& weight, std::int64_t rows, const Given& given) {
  const Method& m = *find_method(method).value();
  return m.apply(problem_of(weight, rows), Params::make(m, given).value()).value();
}
std::vector<float> decoded(const SiteResult& result) {
  std::vector<float> values(static_cast<std::size_t>(result.weight.rows * result.weight.cols));
  decode_rows(result.weight, 0, result.weight.rows, values.data());
  return values;
}
using testkit::normals;

// By hand: 3 bits and exponent 1/2 are squares of quarters, -1, -9/16, -4/16, -1/16, 0, 1/16, 4/16, 9/16.
TEST(Nupes, PointsAreSquaresAtExponentOneHalf) {
  const std::vector<float> points{-1, -0.5625f, -0.25f, -0.0625f, 0, 0.0625f, 0.25f, 0.5625f};
  const Given given{{"group", "0"}, {"exponent", "0.5"}, {"table", "f32"}};
  EXPECT_EQ(decoded(code("nupes", points, 1, given)), points);
  std::vector<float> turned;  // the further side may be the positive one
  for (const float p : points) turned.push_back(-2 * p);
  EXPECT_EQ(decoded(code("nupes", turned, 1, given)), turned);
  const std::vector<float> odd{-1, -0.27f, 0.02f, 0.05f, 0.1f, 0.5f, 0, -0.6f};
  EXPECT_EQ(decoded(code("nupes", odd, 1, given)),
            (std::vector<float>{-1, -0.25f, 0, 0.0625f, 0.0625f, 0.5625f, 0, -0.5625f}));
}

TEST(Nupes, ExponentOneIsTheUniformGrid) {
  const std::vector<float> points{-4, -3, -2, -1, 0, 1, 2, 3};
  EXPECT_EQ(decoded(code("nupes", points, 1, {{"group", "0"}, {"exponent", "1"}, {"table", "f32"}})), points);
}

TEST(Nupes, ASymmetricGridHasOnePointFewer) {
  const SiteResult result =
      code("nupes", normals(64, 1, 0.05), 1, {{"form", "symmetric"}, {"exponent", "1"}, {"table", "f32"}});
  const auto& table = std::get<LutGroupSpec>(result.weight.terms[0].spec).table;
  ASSERT_EQ(table.size(), 8u);
  EXPECT_EQ(table[0], table[1]);
  for (std::size_t k = 1; k < 8; ++k) EXPECT_EQ(table[k], -table[8 - k]);
}

// The paper's claim, on normal weights: less error than uniform grids of as many points. Rounding the points to 127ths
// costs next to nothing.
TEST(Nupes, BeatsUniformGridsOnNormalWeights) {
  for (const std::uint64_t seed : {1, 2, 3}) {
    const std::vector<float> weight = normals(32 * 512, seed, 0.05);
    const auto error = [&](const std::string& exponent, const std::string& form, const std::string& table) {
      return code("nupes", weight, 32, {{"group", "128"}, {"exponent", exponent}, {"form", form}, {"table", table}})
          .report.weight_error;
    };
    for (const std::string form : {"symmetric", "asymmetric"}) {
      EXPECT_LT(error("0.85", form, "f32"), 0.96 * error("1", form, "f32")) << form;
      EXPECT_LT(error("0.85", form, "int8"), 1.02 * error("0.85", form, "f32")) << form;
    }
    EXPECT_LT(error("0.85", "asymmetric", "int8"),
              code("rtn", weight, 32, {{"bits", "3"}, {"group", "128"}, {"symmetric", "true"}, {"clip", "mse"}})
                  .report.weight_error);
  }
}

TEST(Nupes, FindsTheExponent) {
  const Method& nupes = *find_method("nupes").value();
  Rng rng(4);
  std::vector<float> flat(16 * 256);
  for (float& v : flat) v = static_cast<float>(rng.uniform() - 0.5);
  const std::vector<float> normal = normals(16 * 256, 5, 0.05);
  const Params params = Params::make(nupes, {{"exponent", "0"}}).value();
  EXPECT_TRUE(nupes.detects(params));
  EXPECT_FALSE(nupes.detects(Params::make(nupes, {}).value()));
  const auto exponent = [&](const std::vector<float>& weight) {
    const auto found = nupes.detect(problem_of(weight, 16), params).value().value();
    return Params::make(nupes, found).value().real("exponent");
  };
  EXPECT_GE(exponent(flat), 0.95) << "evenly spread weights want an even grid";
  EXPECT_LE(exponent(normal), 0.9);
  EXPECT_GE(exponent(normal), 0.6);
}

}  // namespace
}  // namespace sparing
