#include <cmath>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "codecs/int_group.h"
#include "methods/method.h"

namespace sparing {
namespace {

SiteResult code(const std::vector<float>& weight, std::int64_t rows,
                const std::vector<std::pair<std::string, std::string>>& given) {
  const Method& rtn = *find_method("rtn").value();
  SiteProblem problem;
  problem.site = "test";
  problem.rows = rows;
  problem.cols = static_cast<std::int64_t>(weight.size()) / rows;
  problem.weight = weight;
  return rtn.apply(problem, Params::make(rtn, given).value()).value();
}

std::vector<float> decoded(const SiteResult& result) {
  std::vector<float> values(static_cast<std::size_t>(result.weight.rows * result.weight.cols));
  decode_rows(result.weight, 0, result.weight.rows, values.data());
  return values;
}

// By hand: span -1 .. 2 in 3 steps of 1, zero at code 1.
TEST(Rtn, TwoBitsByHand) {
  const auto result = code({-1.0f, 0.4f, 0.6f, 2.0f}, 1, {{"bits", "2"}, {"group", "0"}});
  const auto parts = unpack(result.weight.terms[0], 1, 4).value();
  EXPECT_EQ(parts.codes, (std::vector<std::uint8_t>{0, 1, 2, 3}));
  EXPECT_EQ(parts.zero_codes, (std::vector<std::uint8_t>{1}));
  EXPECT_EQ(decoded(result), (std::vector<float>{-1, 0, 1, 2}));
  EXPECT_NEAR(result.report.weight_error, (0.16 + 0.16) / (1 + 0.16 + 0.36 + 4), 1e-6);
}

// By hand: the extreme weight, +2, takes code 0 of a negative scale, so it is exact.
TEST(Rtn, SymmetricKeepsTheExtreme) {
  const auto result = code({2.0f, -0.9f, 0.1f, 1.1f}, 1, {{"bits", "2"}, {"group", "0"}, {"symmetric", "true"}});
  EXPECT_EQ(decoded(result), (std::vector<float>{2, -1, 0, 1}));
}

// Exact but for the rounding of the scale to f16: 2^-11 of the span.
TEST(Rtn, MinimaReproduceAnyTwoValues) {
  const auto values = decoded(code({5.25f, 5.5f, 5.25f, 5.5f}, 1, {{"bits", "2"}, {"group", "2"}, {"zero", "min"}}));
  for (const std::size_t i : {0, 2}) EXPECT_EQ(values[i], 5.25f);
  for (const std::size_t i : {1, 3}) EXPECT_NEAR(values[i], 5.5f, 0.25 * 0x1.0p-11);
}

TEST(Rtn, ZerosAndConstantsSurvive) {
  for (const std::string zero : {"integer", "min"}) {
    EXPECT_EQ(decoded(code(std::vector<float>(8), 2, {{"group", "0"}, {"zero", zero}})), std::vector<float>(8));
    for (const float v : decoded(code(std::vector<float>(8, -0.75f), 2, {{"group", "0"}, {"zero", zero}})))
      EXPECT_NEAR(v, -0.75f, 0.75 * 0x1.0p-11);
  }
}

// Min-max rounding moves no weight by more than half a step, one step where the integer zero had to move the span.
TEST(Rtn, ErrorIsBoundedByTheStep) {
  Rng rng(3);
  std::vector<float> weight(4 * 150);
  for (float& w : weight) w = static_cast<float>(rng.normal());
  for (int bits = 2; bits <= 8; ++bits)
    for (const std::string zero : {"integer", "min"}) {
      const auto values = decoded(code(weight, 4, {{"bits", std::to_string(bits)}, {"group", "32"}, {"zero", zero}}));
      for (std::size_t row = 0; row < 4; ++row)
        for (std::size_t begin = 0; begin < 150; begin += 32) {
          float low = 0, high = 0;
          const std::size_t end = std::min<std::size_t>(150, begin + 32);
          for (std::size_t c = begin; c < end; ++c) {
            low = std::min(low, weight[row * 150 + c]);
            high = std::max(high, weight[row * 150 + c]);
          }
          const float step = (high - low) / static_cast<float>((1 << bits) - 1);
          const float bound = step * (zero == "min" ? 0.5f : 1.0f) + (high - low) * 0x1.0p-10f;
          for (std::size_t c = begin; c < end; ++c)
            EXPECT_LE(std::abs(weight[row * 150 + c] - values[row * 150 + c]), bound) << bits << zero;
        }
    }
}

// The paper's claim about clipping, on Gaussian weights: at 3 bits and fewer the searched span beats the full one.
TEST(Rtn, SearchedSpansBeatFullOnes) {
  Rng rng(4);
  std::vector<float> weight(8 * 256);
  for (float& w : weight) w = static_cast<float>(rng.normal());
  for (const std::string bits : {"2", "3", "4"})
    for (const std::string layout : {"integer", "min", "symmetric"}) {
      std::vector<std::pair<std::string, std::string>> given{{"bits", bits}, {"group", "128"}};
      given.push_back(layout == "symmetric" ? std::pair{std::string("symmetric"), std::string("true")}
                                            : std::pair{std::string("zero"), layout});
      const double full = code(weight, 8, given).report.weight_error;
      given.emplace_back("clip", "mse");
      const double searched = code(weight, 8, given).report.weight_error;
      EXPECT_LT(searched, full * (bits == "4" ? 0.97 : 0.8)) << bits << layout;
    }
}

TEST(Rtn, CodedScalesCostLittle) {
  Rng rng(5);
  std::vector<float> weight(8 * 256);
  for (float& w : weight) w = static_cast<float>(rng.normal());
  const auto plain = code(weight, 8, {{"group", "16"}, {"clip", "mse"}});
  for (const std::string kind : {"coded6", "coded8"}) {
    const auto coded = code(weight, 8, {{"group", "16"}, {"clip", "mse"}, {"scale", kind}});
    EXPECT_LT(stored_bytes(coded.weight), stored_bytes(plain.weight));
    EXPECT_LT(coded.report.weight_error, plain.report.weight_error * 1.1) << kind;
  }
}

TEST(Rtn, RefusesAGroupWiderThanTheRow) {
  const Method& rtn = *find_method("rtn").value();
  const auto codings = rtn.codings(Params::make(rtn, {{"group", "128"}}).value(), 4, 64);
  ASSERT_FALSE(codings.ok());
  EXPECT_NE(codings.error().message.find("group=128"), std::string::npos);
}

}  // namespace
}  // namespace sparing
