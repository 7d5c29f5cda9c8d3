#include <algorithm>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "methods/planted_site.h"

namespace sparing {
namespace {

using testing::Given;

struct Case {
  std::int64_t rows = 0, cols = 0;
  std::vector<float> weight, moment;

  Result<SiteResult> code(const std::string& method, const Given& given, bool with_statistics = true) const {
    return testing::code_site(method, weight, rows, with_statistics ? moment : std::vector<float>{}, given, 1000);
  }
  std::vector<float> decoded(const std::string& method, const Given& given) const {
    const SiteResult result = code(method, given).value();
    std::vector<float> values(weight.size());
    decode_effective_rows(result.weight, 0, rows, values.data());
    return values;
  }
  // e H e' of one row.
  double loss(const std::vector<float>& values, std::int64_t row) const {
    double total = 0;
    for (std::int64_t i = 0; i < cols; ++i)
      for (std::int64_t j = 0; j < cols; ++j) {
        const auto a = static_cast<std::size_t>(row * cols + i), b = static_cast<std::size_t>(row * cols + j);
        total += (static_cast<double>(weight[a]) - values[a]) * moment[static_cast<std::size_t>(i * cols + j)] *
                 (static_cast<double>(weight[b]) - values[b]);
      }
    return total;
  }
  double loss(const std::vector<float>& values) const {
    double total = 0;
    for (std::int64_t r = 0; r < rows; ++r) total += loss(values, r);
    return total;
  }
};

// Inputs that lie near a space of a few dimensions, with a few large ones: what a transformer's look like.
Case planted(std::int64_t rows, std::int64_t cols, int rank, std::uint64_t seed) {
  Rng rng(seed);
  Case c{rows, cols, {}, {}};
  const auto n = static_cast<std::size_t>(cols);
  for (std::int64_t i = 0; i < rows * cols; ++i) c.weight.push_back(static_cast<float>(0.05 * rng.normal()));
  std::vector<double> mix(n * static_cast<std::size_t>(rank)), x(n);
  for (double& m : mix) m = rng.normal();
  c.moment.assign(n * n, 0.0f);
  for (int token = 0; token < 4 * static_cast<int>(n); ++token) {
    std::fill(x.begin(), x.end(), 0.0);
    for (int k = 0; k < rank; ++k) {
      const double z = rng.normal();
      for (std::size_t j = 0; j < n; ++j)
        x[j] += z * mix[j * static_cast<std::size_t>(rank) + static_cast<std::size_t>(k)];
    }
    for (std::size_t j = 0; j < n; ++j) x[j] = (x[j] + 0.3 * rng.normal()) * (j % 11 == 0 ? 3.0 : 1.0);
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j) c.moment[i * n + j] += static_cast<float>(x[i] * x[j]);
  }
  return c;
}

const Given kPlain = {
    {"bits", "2"},   {"group", "0"},  {"clip", "none"}, {"act_order", "false"}, {"static_groups", "true"},
    {"refine", "0"}, {"damping", "0"}};

// By hand. Grid {0, 1, 2, 3}, weights 0, 1.4, 2.4, 3; only inputs 1 and 2 are correlated, H_12 = .9. Input 1 rounds to
// 1 with error .4, so input 2 wants 2.4 + .9 * .4 = 2.76, which is 3, where rounding says 2.
TEST(Gptq, LaterInputsMakeUpForEarlierErrors) {
  const std::vector<float> moment{1, 0, 0, 0, 0, 1, .9f, 0, 0, .9f, 1, 0, 0, 0, 0, 1};
  const Case c{1, 4, {0, 1.4f, 2.4f, 3}, moment};
  EXPECT_EQ(c.decoded("rtn", {{"bits", "2"}, {"group", "0"}}), (std::vector<float>{0, 1, 2, 3}));
  EXPECT_EQ(c.decoded("gptq", kPlain), (std::vector<float>{0, 1, 3, 3}));
}

// With independent inputs there is nothing to make up for: the codes are those of rounding.
TEST(Gptq, IndependentInputsAreRounded) {
  Case c = planted(6, 24, 4, 1);
  for (std::int64_t i = 0; i < 24; ++i)
    for (std::int64_t j = 0; j < 24; ++j)
      if (i != j) c.moment[static_cast<std::size_t>(i * 24 + j)] = 0;
  EXPECT_EQ(c.decoded("gptq", kPlain), c.decoded("rtn", {{"bits", "2"}, {"group", "0"}}));
}

// The result does not depend on where the blocks are cut (but for the order of sums).
TEST(Gptq, BlocksOnlyChangeSpeed) {
  const Case c = planted(4, 70, 6, 2);
  Given given = kPlain;
  given[0].second = "4";
  given.emplace_back("block", "1");
  const double one = c.loss(c.decoded("gptq", given));
  for (const std::string block : {"7", "64", "1000"}) {
    given.back().second = block;
    EXPECT_NEAR(c.loss(c.decoded("gptq", given)), one, 0.03 * one) << block;
  }
}

// On every row at most rounding's loss with the same grids; on the whole far below it, at 2 to 4 bits.
TEST(Gptq, BeatsRounding) {
  const Case c = planted(24, 128, 12, 3);
  for (const std::string bits : {"2", "3", "4"}) {
    const Given rounding{{"bits", bits}, {"group", "64"}, {"clip", "mse"}};
    const std::vector<float> rtn = c.decoded("rtn", rounding);
    for (const std::string act_order : {"false", "true"}) {
      const std::vector<float> gptq = c.decoded(
          "gptq", {{"bits", bits}, {"group", "64"}, {"act_order", act_order}, {"refine", "0"}, {"damping", "0.001"}});
      EXPECT_LT(c.loss(gptq), 0.5 * c.loss(rtn)) << bits << act_order;
    }
  }
}

TEST(Gptq, NoRowIsWorseThanRounding) {
  const Case c = planted(200, 10, 9, 4);  // few inputs: feedback often has nothing to gain
  const auto result =
      c.code("gptq", {{"bits", "2"}, {"group", "0"}, {"clip", "none"}, {"damping", "0"}, {"refine", "0"}});
  ASSERT_TRUE(result.ok());
  EXPECT_NE(result->report.note.find("rows rounded"), std::string::npos) << result->report.note;
  std::vector<float> values(c.weight.size());
  decode_effective_rows(result->weight, 0, c.rows, values.data());
  const std::vector<float> rtn = c.decoded("rtn", {{"bits", "2"}, {"group", "0"}});
  for (std::int64_t r = 0; r < c.rows; ++r) EXPECT_LE(c.loss(values, r), c.loss(rtn, r) * (1 + 1e-4) + 1e-9) << r;
}

// All 4^6 code vectors: with refinement the loss is within a few per cent of the best that the first grid allows.
TEST(Gptq, IsNearTheExactOptimumOnTinyRows) {
  const Case c = planted(12, 6, 3, 5);
  const Given exact_grid{{"bits", "2"}, {"group", "0"}, {"clip", "none"}, {"damping", "0"}, {"refine", "2"}};
  const std::vector<float> values = c.decoded("gptq", exact_grid);
  double best_total = 0;
  for (std::int64_t r = 0; r < c.rows; ++r) {
    const float* w = c.weight.data() + r * 6;
    const float low = std::min(0.0f, *std::min_element(w, w + 6)), high = std::max(0.0f, *std::max_element(w, w + 6));
    const float scale = (high - low) / 3, zero = std::round(-low / scale);
    double best = std::numeric_limits<double>::infinity();
    std::vector<float> trial(c.weight.size());
    for (int code = 0; code < 4096; ++code) {
      for (int j = 0; j < 6; ++j)
        trial[static_cast<std::size_t>(r * 6 + j)] = scale * (static_cast<float>((code >> (2 * j)) & 3) - zero);
      best = std::min(best, c.loss(trial, r));
    }
    best_total += best;
  }
  EXPECT_LE(c.loss(values), best_total * 1.02);  // scales are refitted, so it may even be lower
}

TEST(Gptq, RefinementLowersTheLoss) {
  const Case c = planted(24, 130, 12, 6);
  for (const std::string zero : {"integer", "min"}) {
    Given given{{"bits", "3"}, {"group", "32"}, {"zero", zero}, {"refine", "0"}};
    const double before = c.loss(c.decoded("gptq", given));
    given.back().second = "2";
    EXPECT_LT(c.loss(c.decoded("gptq", given)), 0.95 * before) << zero;
  }
}

TEST(Gptq, ActOrderWithoutStaticGroupsStoresThePermutation) {
  const Case c = planted(8, 96, 8, 7);
  const auto result = c.code("gptq", {{"group", "32"}, {"static_groups", "false"}});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->weight.input.kind, TransformKind::permutation);
  EXPECT_LT(c.loss(c.decoded("gptq", {{"group", "32"}, {"static_groups", "false"}})),
            0.6 * c.loss(c.decoded("rtn", {{"group", "32"}})));
}

// Inputs arrive 10 % too small: with correct=1 the coded weight makes up for it, with correct=0.5 for half of it, and
// for half as much where there are only 9 tokens an input.
TEST(Gptq, MakesUpForDamagedInputs) {
  const Case c = planted(6, 48, 8, 10);
  std::vector<float> damage = c.moment;  // x0 = x / 0.9, so sum (x0 - x) x' = H / 9
  for (float& d : damage) d /= 9.0f;
  const Method& gptq = *find_method("gptq").value();
  for (const auto& [strength, tokens, share] :
       {std::tuple{0.0, 1000000, 0.0}, {0.5, 1000000, 0.5}, {1.0, 1000000, 1.0}, {1.0, 9 * 48, 0.5}}) {
    const Statistics statistics{48, tokens, c.moment, damage, {}};
    SiteProblem problem;
    problem.site = "test";
    problem.rows = c.rows;
    problem.cols = c.cols;
    problem.weight = c.weight;
    problem.statistics = &statistics;
    const Params params =
        Params::make(gptq, {{"bits", "8"}, {"group", "0"}, {"damping", "0"}, {"correct", std::to_string(strength)}})
            .value();
    const auto result = gptq.apply(problem, params);
    ASSERT_TRUE(result.ok()) << result.error().message;
    std::vector<float> values(c.weight.size());
    decode_effective_rows(result->weight, 0, c.rows, values.data());
    double along = 0, size = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      along += static_cast<double>(values[i]) * c.weight[i];
      size += static_cast<double>(c.weight[i]) * c.weight[i];
    }
    EXPECT_NEAR(along / size, 1 + share / 9, 0.01);
  }
}

TEST(Gptq, SurvivesRankDeficientAndDeadInputs) {
  Case c = planted(8, 40, 3, 8);
  for (std::int64_t i = 0; i < 40; ++i)
    for (std::int64_t j = 0; j < 40; ++j)
      if (i < 5 || j < 5) c.moment[static_cast<std::size_t>(i * 40 + j)] = 0;  // five dead inputs
  for (std::int64_t i = 0; i < 40; ++i) {                                      // input 7 is input 6 again
    c.moment[static_cast<std::size_t>(7 * 40 + i)] = c.moment[static_cast<std::size_t>(6 * 40 + i)];
    c.moment[static_cast<std::size_t>(i * 40 + 7)] = c.moment[static_cast<std::size_t>(i * 40 + 6)];
  }
  c.moment[7 * 40 + 7] = c.moment[6 * 40 + 6];
  const auto result = c.code("gptq", {{"group", "0"}, {"damping", "0"}});
  ASSERT_TRUE(result.ok()) << result.error().message;
  EXPECT_NE(result->report.note.find("damping raised"), std::string::npos) << result->report.note;
  EXPECT_LT(result->report.output_error, 0.02);
  std::fill(c.moment.begin(), c.moment.end(), 0.0f);  // no signal at all
  EXPECT_TRUE(c.code("gptq", {{"group", "0"}}).ok());
}

TEST(Gptq, SaysWhenStatisticsAreMissing) {
  const Case c = planted(2, 8, 2, 9);
  const auto result = c.code("gptq", {{"group", "0"}}, false);
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message.find("calibrat"), std::string::npos);
}

}  // namespace
}  // namespace sparing
