#include <gtest/gtest.h>

#include <cmath>

#include "methods/planted_site.h"

namespace sparing {
namespace {

using testing::code_site;
using testing::decoded;
using testing::Given;
using testing::identity;

Result<SiteResult> code(const std::vector<float>& weight, const std::vector<float>& moment, std::int64_t rows,
                        const Given& given) {
  return code_site("qmoe", weight, rows, moment, given);
}

// Levels -2, 0 and 1: from half of either on a weight goes there. A row without negative weights has no low level.
TEST(Qmoe, ThresholdsAreHalfWayToTheExtremes) {
  const std::vector<float> weight = {-2, -1.25f, -0.75f, 0.25f, 0.75f, 1, 0, 0.5f, 3, 2, 1, 0.5f, 4, 0, 1.75f, 2.25f};
  const std::vector<float> want = {-2, -2, 0, 0, 1, 1, 0, 0, 4, 0, 0, 0, 4, 0, 0, 4};
  const SiteResult result = code(weight, identity(8), 2, {{"damping", "0"}}).value();
  EXPECT_EQ(decoded(result), want);
  EXPECT_EQ(codec_name(result.weight.terms[0].spec), "ternary_dict");
  EXPECT_EQ(result.report.note, "56 % zeros");
  EXPECT_EQ(decoded(code(std::vector<float>(24), identity(8), 3, {}).value()), std::vector<float>(24));
}

// Where inputs correlate, feedback loses less than rounding to the same levels: the paper's reason for GPTQ. Searched
// levels lose less again, and leave fewer zeros.
TEST(Qmoe, FeedbackBeatsRounding) {
  for (const std::uint64_t seed : {1, 2, 3}) {
    Rng rng(seed);
    const std::size_t n = 96;
    std::vector<float> weight(48 * n), moment(n * n);
    for (float& w : weight) w = static_cast<float>(0.05 * rng.normal());
    for (int token = 0; token < 400; ++token) {
      std::vector<double> x(n);
      double z = 0;
      for (double& v : x) v = z = 0.9 * z + rng.normal();
      for (std::size_t i = 0; i < n; ++i)
        for (std::size_t j = 0; j < n; ++j) moment[i * n + j] += static_cast<float>(x[i] * x[j]);
    }
    const auto error = [&](const Given& given) { return code(weight, moment, 48, given)->report.output_error; };
    const double feedback = error({}), searched = error({{"levels", "mse"}, {"refine", "2"}});
    EXPECT_LT(feedback, error({{"codes", "nearest"}}));
    EXPECT_LT(searched, error({{"levels", "mse"}, {"codes", "nearest"}}));
    EXPECT_LT(searched, feedback);
  }
}

TEST(Qmoe, SaysWhenStatisticsAreMissing) {
  const auto result = code(std::vector<float>(64, 1.0f), {}, 2, {});
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message.find("calibrat"), std::string::npos);
}

}  // namespace
}  // namespace sparing
