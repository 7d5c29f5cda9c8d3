#include <gtest/gtest.h>

#include "base/thread_pool.h"
#include "methods/planted_site.h"

namespace sparing {
namespace {

using testing::code_site;
using testing::decoded;
using testing::Given;
using testing::identity;

Result<SiteResult> code(const std::vector<float>& weight, const std::vector<float>& moment, std::int64_t rows,
                        const Given& given) {
  return code_site("pv-tuning", weight, rows, moment, given);
}

// Two rows of vectors a = (3, 1, -1, -1) and b = (-1, -1, 1, 3), the second row twice as large: each has the scale
// rms = sqrt(3) or twice that, so two entries hold all but half precision's and a byte's rounding.
TEST(PvTuning, TwoPatternsNeedTwoEntries) {
  const std::vector<float> a = {3, 1, -1, -1}, b = {-1, -1, 1, 3};
  std::vector<float> weight;
  for (const float size : {1.0f, 2.0f})
    for (int i = 0; i < 8; ++i)
      for (const float v : i % 3 == 0 ? a : b) weight.push_back(size * v);
  const SiteResult result = code(weight, identity(32), 2, {{"bits", "1"}, {"vector", "4"}, {"steps", "0"}}).value();
  const auto& spec = std::get<VqAdditiveSpec>(result.weight.terms[0].spec);
  EXPECT_EQ(spec.books, 1);
  EXPECT_EQ(spec.bits, 4);
  const std::vector<float> values = decoded(result);
  for (std::size_t i = 0; i < weight.size(); ++i) EXPECT_NEAR(values[i], weight[i], 0.02 * (i < 32 ? 1 : 2));
  EXPECT_EQ(result.trainable, nullptr);
}

TEST(PvTuning, CodesAreSplitOverBooksOfAtMostAByte) {
  const Method& method = *find_method("pv-tuning").value();
  const auto spec = [&](const Given& given) {
    const auto specs = method.codings(Params::make(method, given).value(), 4, 64);
    return specs.ok() ? describe(specs->front()) : specs.error().message;
  };
  EXPECT_EQ(spec({}), "vq_additive 1x8b v4 g64 f16");
  EXPECT_EQ(spec({{"vector", "8"}}), "vq_additive 2x8b v8 g64 f16");
  EXPECT_EQ(spec({{"bits", "3"}, {"group", "16"}}), "vq_additive 2x6b v4 g16 f16");
  EXPECT_EQ(spec({{"bits", "1"}, {"vector", "8"}}), "vq_additive 1x8b v8 g64 f16");
  EXPECT_NE(spec({{"bits", "3"}, {"vector", "8"}}).find("use vector=4"), std::string::npos);
  EXPECT_NE(spec({{"group", "6"}}).find("cuts a vector"), std::string::npos);
  EXPECT_NE(spec({{"group", "128"}}).find("wider than a row"), std::string::npos);
}

TEST(PvTuning, ZerosAndLonelyWeightsAreFine) {
  std::vector<float> weight(3 * 5);
  const SiteResult zero = code(weight, identity(5), 3, {}).value();
  EXPECT_EQ(decoded(zero), weight);
  weight[7] = 0.5f;  // one weight of a short last vector
  const SiteResult one = code(weight, identity(5), 3, {{"correct", "0"}}).value();
  const std::vector<float> values = decoded(one);
  for (std::size_t i = 0; i < weight.size(); ++i) EXPECT_NEAR(values[i], weight[i], 0.005);
}

// At the same two bits vectors lose less than numbers: the reason for them. Well under the error of integer coding with
// the same engine and more bytes, on Gaussian weights.
TEST(PvTuning, VectorsBeatNumbersAtTwoBits) {
  Rng rng(8);
  const std::size_t n = 128;
  std::vector<float> weight(256 * n), moment(n * n);
  for (float& w : weight) w = static_cast<float>(0.05 * rng.normal());
  std::vector<double> x(n);
  for (int token = 0; token < 400; ++token) {
    double z = 0;
    for (double& v : x) v = z = 0.7 * z + rng.normal();
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j) moment[i * n + j] += static_cast<float>(x[i] * x[j]);
  }
  const SiteResult vectors = code(weight, moment, 256, {{"steps", "0"}}).value();
  const SiteResult numbers = code_site("gptq", weight, 256, moment, {{"bits", "2"}, {"group", "32"}}).value();
  EXPECT_LE(stored_bytes(vectors.weight), stored_bytes(numbers.weight));
  EXPECT_LT(vectors.report.output_error, 0.75 * numbers.report.output_error);
}

TEST(PvTuning, SaysWhenStatisticsAreMissing) {
  const auto result = code(std::vector<float>(64, 1.0f), {}, 2, {});
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message.find("calibrat"), std::string::npos);
}

}  // namespace
}  // namespace sparing
