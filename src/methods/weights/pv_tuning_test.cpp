#include <gtest/gtest.h>

#include "base/rng.h"
#include "base/thread_pool.h"
#include "methods/method.h"

namespace sparing {
namespace {

using Given = std::vector<std::pair<std::string, std::string>>;

Result<SiteResult> code(const std::vector<float>& weight, const std::vector<float>& moment, std::int64_t rows,
                        const Given& given) {
  const Method& method = *find_method("pv-tuning").value();
  const std::int64_t cols = static_cast<std::int64_t>(weight.size()) / rows;
  const Statistics statistics{cols, 400, moment};
  SiteProblem problem;
  problem.site = "test";
  problem.rows = rows;
  problem.cols = cols;
  problem.weight = weight;
  problem.statistics = moment.empty() ? nullptr : &statistics;
  return method.apply(problem, Params::make(method, given).value());
}

std::vector<float> identity(std::size_t n) {
  std::vector<float> h(n * n);
  for (std::size_t i = 0; i < n; ++i) h[i * n + i] = 1.0f;
  return h;
}

std::vector<float> decoded(const SiteResult& result) {
  std::vector<float> values(static_cast<std::size_t>(result.weight.rows * result.weight.cols));
  decode_effective_rows(result.weight, 0, result.weight.rows, values.data());
  return values;
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
  const Method& gptq = *find_method("gptq").value();
  const Statistics statistics{static_cast<std::int64_t>(n), 400, moment};
  SiteProblem problem;
  problem.site = "test";
  problem.rows = 256;
  problem.cols = static_cast<std::int64_t>(n);
  problem.weight = weight;
  problem.statistics = &statistics;
  const SiteResult numbers = gptq.apply(problem, Params::make(gptq, {{"bits", "2"}, {"group", "32"}}).value()).value();
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
