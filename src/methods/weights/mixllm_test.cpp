#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "codecs/int_rows.h"
#include "methods/planted_outputs.h"
#include "tensor/half.h"

namespace sparing {
namespace {

using testing::Outputs;
using Given = std::vector<std::pair<std::string, std::string>>;

const Method& mixllm() {
  return *find_method("mixllm").value();
}

/// Outputs with how much the predictions depend on each.
struct Weighed : Outputs {
  std::vector<float> sensitivity;
  Weighed(std::int64_t r, std::int64_t c, std::uint64_t seed) : Outputs(r, c, seed), sensitivity(r, 1.0f) {}

  Result<SiteResult> apply(const std::string& method, const Given& given) const {
    const Method& m = *find_method(method).value();
    Statistics statistics{cols, 800, moment};
    statistics.sensitivity = sensitivity;
    const SiteProblem problem{.site = "test", .rows = rows, .cols = cols, .weight = weight, .statistics = &statistics};
    return m.apply(problem, Params::make(m, given).value());
  }
  /// What it costs, held-out tokens' output errors by sensitivity.
  double damage(const CodedWeight& coded) const {
    std::vector<float> decoded(weight.size());
    decode_effective_rows(coded, 0, rows, decoded.data());
    double sum = 0;
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::size_t t = 0; t < held_out.size(); t += static_cast<std::size_t>(cols)) {
        double error = 0;
        for (std::int64_t j = 0; j < cols; ++j)
          error += (weight[static_cast<std::size_t>(r * cols + j)] - decoded[static_cast<std::size_t>(r * cols + j)]) *
                   held_out[t + static_cast<std::size_t>(j)];
        sum += sensitivity[static_cast<std::size_t>(r)] * error * error;
      }
    return sum;
  }
};

std::vector<std::uint32_t> rows_of(const CodedWeight& weight) {
  std::vector<std::uint32_t> rows;
  const auto& spec = std::get<IntRowsSpec>(weight.terms.at(1).spec);
  for (std::int64_t i = 0; i < spec.count; ++i) rows.push_back(coded_row(weight.terms[1].blob.bytes.data(), i));
  return rows;
}

// By hand: rows of whole steps from -128 to 127 are on the grid of 8 bits, whatever the base codes zeros as; at 3 bits
// their steps are 32 times as large, so they lose most, the one with larger steps more.
TEST(MixLlm, ItsRowsAreOnAGridOfEightBits) {
  Outputs c(3, 8, 1);
  c.weight = {-128, 127, 3,    -77,  0,    50,  31,   -1,   // one step
              0.5f, 1,   0.5f, 1,    0.5f, 1,   0.5f, 1,    // nearly on a coarse grid
              -256, 254, 6,    -154, 0,    100, 62,   -2};  // two steps
  for (const Given& zero : {Given{{"symmetric", "true"}}, Given{{"zero", "integer"}}, Given{{"zero", "min"}}}) {
    Given given{{"bits", "3"}, {"group", "8"}, {"rows", "2"}, {"damping", "0"}};
    given.insert(given.end(), zero.begin(), zero.end());
    const SiteResult two = c.code("mixllm", given, true).value();
    EXPECT_EQ(rows_of(two.weight), (std::vector<std::uint32_t>{0, 2}));
    std::vector<float> decoded(24);
    decode_rows(two.weight, 0, 3, decoded.data());
    for (const std::size_t r : {0u, 2u})
      for (std::size_t j = 0; j < 8; ++j) EXPECT_EQ(decoded[r * 8 + j], c.weight[r * 8 + j]) << zero[0].first;
    given[2].second = "1";
    EXPECT_EQ(rows_of(c.code("mixllm", given, true).value().weight), std::vector<std::uint32_t>{2});
  }
}

// The rows at 8 bits come out as gptq codes them there, all others as at the base's rate.
TEST(MixLlm, IsGptqAtTwoRates) {
  Weighed c(40, 96, 2);
  c.sensitivity[7] = c.sensitivity[30] = 1e6f;
  const SiteResult ours = c.apply("mixllm", {{"bits", "3"}, {"group", "32"}, {"share", "5"}}).value(),
                   low = c.apply("gptq", {{"bits", "3"}, {"group", "32"}, {"act_order", "true"}}).value(),
                   high =
                       c.apply("gptq", {{"bits", "8"}, {"group", "32"}, {"symmetric", "true"}, {"act_order", "true"}})
                           .value();
  EXPECT_EQ(rows_of(ours.weight), (std::vector<std::uint32_t>{7, 30}));
  std::vector<float> a(40 * 96), b(a.size()), d(a.size());
  decode_effective_rows(ours.weight, 0, 40, a.data());
  decode_effective_rows(low.weight, 0, 40, b.data());
  decode_effective_rows(high.weight, 0, 40, d.data());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i], i / 96 == 7 || i / 96 == 30 ? d[i] : b[i]) << i;
}

TEST(MixLlm, WithoutSuchRowsItIsTheBaseAlone) {
  const Weighed c(20, 64, 3);
  EXPECT_EQ(c.apply("mixllm", {{"rows", "0"}}).value().weight.terms.size(), 1u);
  EXPECT_EQ(c.apply("mixllm", {{"share", "0"}}).value().weight.terms.size(), 1u);
  EXPECT_EQ(rows_of(c.apply("mixllm", {{"rows", "100"}}).value().weight).size(), 20u);
}

// The claim, on outputs of which some matter far more than others: against the same bytes on smaller groups.
TEST(MixLlm, BeatsAsManyBytesForAllWhereOutputsDiffer) {
  Weighed c(160, 128, 4);
  Rng rng(5);
  for (float& s : c.sensitivity) s = static_cast<float>(std::exp(2 * rng.normal()));
  const Given ours{{"bits", "3"}, {"group", "128"}, {"share", "10"}},
      theirs{{"bits", "3"}, {"group", "16"}, {"act_order", "true"}};
  EXPECT_LE(predicted_bytes(mixllm(), Params::make(mixllm(), ours).value(), 160, 128).value(),
            predicted_bytes(*find_method("gptq").value(), Params::make(*find_method("gptq").value(), theirs).value(),
                            160, 128)
                .value());
  EXPECT_LT(c.damage(c.apply("mixllm", ours).value().weight), 0.7 * c.damage(c.apply("gptq", theirs).value().weight));
}

TEST(MixLlm, SalienceIsWhatRoundingCostsByTheSensitivity) {
  Weighed c(6, 64, 6);
  c.sensitivity = {1, 2, 4, 0, 8, 16};
  Statistics statistics{c.cols, 800, c.moment};
  const SiteProblem problem{
      .site = "test", .rows = c.rows, .cols = c.cols, .weight = c.weight, .statistics = &statistics};
  const Params params = Params::make(mixllm(), {}).value();
  const std::vector<double> alike = mixllm().sharing->salience(problem, params).value();
  statistics.sensitivity = c.sensitivity;
  const std::vector<double> weighed = mixllm().sharing->salience(problem, params).value();
  for (std::size_t r = 0; r < 6; ++r) {
    EXPECT_GT(alike[r], 0);
    EXPECT_DOUBLE_EQ(weighed[r], alike[r] * c.sensitivity[r]);
  }
  EXPECT_TRUE(mixllm().sharing->wanted(params));
  EXPECT_FALSE(mixllm().sharing->wanted(Params::make(mixllm(), {{"rows", "3"}}).value()));
  EXPECT_FALSE(mixllm().sharing->wanted(Params::make(mixllm(), {{"spread", "layer"}}).value()));
}

TEST(MixLlm, RefusesWhatTwoRatesCannotShare) {
  const Weighed c(6, 64, 4);
  for (const auto& [given, says] :
       {std::pair<Given, const char*>{{{"bits", "7"}}, "bits=7"}, {{{"scale", "coded6"}}, "scale=coded6"}}) {
    const auto result = c.apply("mixllm", given);
    ASSERT_FALSE(result.ok());
    EXPECT_NE(result.error().message.find(says), std::string::npos) << result.error().message;
  }
}

}  // namespace
}  // namespace sparing
