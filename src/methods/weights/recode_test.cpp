#include <gtest/gtest.h>

#include "base/testing.h"
#include "methods/method.h"
#include "tensor/half.h"

namespace sparing {
namespace {

using Given = std::vector<std::pair<std::string, std::string>>;

SiteProblem problem_of(const std::vector<float>& weight, std::int64_t rows) {
  SiteProblem problem;
  problem.site = "layers.1.mlp.up";
  problem.rows = rows;
  problem.cols = static_cast<std::int64_t>(weight.size()) / rows;
  problem.weight = weight;
  return problem;
}

Params params_of(const Given& given) {
  return Params::make(*find_method("recode").value(), given).value();
}
Result<SiteResult> code(const std::vector<float>& weight, std::int64_t rows, const Given& given) {
  return find_method("recode").value()->apply(problem_of(weight, rows), params_of(given));
}
std::optional<Given> detected(const std::vector<float>& weight, std::int64_t rows, const Given& given = {}) {
  return find_method("recode").value()->detect(problem_of(weight, rows), params_of(given)).value();
}
std::string setting(const Given& params, const std::string& name) {
  for (const auto& [known, value] : params)
    if (known == name) return value;
  return "?";
}
std::vector<float> decoded(const SiteResult& result) {
  std::vector<float> values(static_cast<std::size_t>(result.weight.rows * result.weight.cols));
  decode_effective_rows(result.weight, 0, result.weight.rows, values.data());
  return values;
}

using testkit::normals;
/// Normal weights as rtn codes and decodes them.
std::vector<float> rounded(std::int64_t rows, std::int64_t cols, const Given& given) {
  const Method& rtn = *find_method("rtn").value();
  const std::vector<float> weight = normals(rows * cols, 3, 0.02);
  return decoded(rtn.apply(problem_of(weight, rows), Params::make(rtn, given).value()).value());
}
std::vector<float> in_f16(std::vector<float> values) {
  for (float& v : values) v = f16_to_f32(f32_to_f16(v));
  return values;
}

// One row by hand: groups {-2 .. 1} * .5 and {0 .. 3} * .25 - 1; the second is no multiple of anything coarser.
TEST(Recode, FindsAHandMadeGrid) {
  const std::vector<float> weight{-1, 0.5f, 0, -0.5f, -1, -0.25f, -0.5f, -0.75f};
  const SiteResult result =
      code(weight, 1, {{"bits", "2"}, {"group", "4"}, {"symmetric", "false"}, {"zero", "min"}}).value();
  EXPECT_EQ(decoded(result), weight);
  EXPECT_EQ(result.report.weight_error, 0);
  EXPECT_FALSE(code(weight, 1, {{"bits", "2"}, {"group", "8"}, {"zero", "min"}}).ok()) << "eight points";
}

TEST(Recode, DetectsWhatRtnHasMade) {
  for (const Given& grid :
       {Given{{"bits", "4"}, {"group", "32"}, {"zero", "min"}},
        Given{{"bits", "3"}, {"group", "64"}, {"zero", "integer"}},
        Given{{"bits", "5"}, {"group", "32"}, {"symmetric", "true"}}, Given{{"bits", "8"}, {"group", "0"}}}) {
    const std::vector<float> exact = rounded(6, 192, grid);
    for (const std::vector<float>& weight : {exact, in_f16(exact)}) {
      const auto found = detected(weight, 6);
      ASSERT_TRUE(found.has_value()) << setting(grid, "bits");
      EXPECT_EQ(setting(*found, "bits"), setting(grid, "bits"));
      EXPECT_EQ(setting(*found, "group"), setting(grid, "group"));
      const SiteResult result = code(weight, 6, *found).value();
      std::vector<float> values = decoded(result);
      if (weight != exact) values = in_f16(values);
      EXPECT_EQ(values, weight) << "not lossless";
    }
  }
}

// Wider groups than those the codes came from never fit, smaller ones always do.
TEST(Recode, TakesTheSmallestCoding) {
  const std::vector<float> weight = rounded(6, 192, {{"bits", "4"}, {"group", "32"}, {"zero", "min"}});
  const auto found = detected(weight, 6);
  ASSERT_TRUE(found.has_value());
  const Method& recode = *find_method("recode").value();
  const std::uint64_t bytes = predicted_bytes(recode, params_of(*found), 6, 192).value();
  EXPECT_EQ(bytes,
            predicted_bytes(recode, params_of({{"bits", "4"}, {"group", "32"}, {"zero", "min"}}), 6, 192).value());
  EXPECT_TRUE(code(weight, 6, {{"bits", "4"}, {"group", "16"}, {"zero", "min"}}).ok());
  EXPECT_FALSE(code(weight, 6, {{"bits", "4"}, {"group", "64"}, {"zero", "min"}}).ok());
}

TEST(Recode, CodedScalesLoseLittleAndSaveBytes) {
  const std::vector<float> weight = rounded(16, 256, {{"bits", "4"}, {"group", "32"}, {"zero", "min"}});
  const auto found = detected(weight, 16, {{"scale", "coded8"}});
  ASSERT_TRUE(found.has_value());
  const SiteResult small = code(weight, 16, *found).value(), exact = code(weight, 16, *detected(weight, 16)).value();
  EXPECT_EQ(exact.report.weight_error, 0);
  EXPECT_GT(small.report.weight_error, 0);
  EXPECT_LT(small.report.weight_error, 3e-5);
  EXPECT_LT(stored_bytes(small.weight), stored_bytes(exact.weight));
}

TEST(Recode, WeightsOnNoGridAreNotDetectedAndAreRefused) {
  const std::vector<float> weight = normals(192, 4, 0.02);
  EXPECT_FALSE(detected(weight, 3).has_value());
  EXPECT_FALSE(detected(in_f16(weight), 3).has_value());
  const auto result = code(weight, 3, {{"bits", "4"}, {"group", "32"}});
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().kind, ErrorKind::input);
  EXPECT_NE(result.error().message.find("layers.1.mlp.up: row 0, group 0 of 32 lies on no grid of 4 bits"),
            std::string::npos)
      << result.error().message;
}

TEST(Recode, TakesZeros) {
  const std::vector<float> weight(64);
  const auto found = detected(weight, 2);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(decoded(code(weight, 2, *found).value()), weight);
}

}  // namespace
}  // namespace sparing
