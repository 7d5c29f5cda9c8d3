#include "plan/plan.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace sparing {
namespace {

const std::string kHash(64, 'a'), kText(64, 'b');

Plan sample() {
  Plan plan;
  plan.model = "tiny";
  plan.model_hash = kHash;
  plan.seed = 7;
  plan.budgets["weights"] = 2000;
  plan.calibration = {.self = false, .files = {{"some/valid.txt", kText}}, .tokens = 4096, .length = 128};
  const ParamList params = {{"bits", "4"}, {"damp", "0.01"}, {"act_order", "true"}, {"clip", "mse"}};
  plan.sites = {{"embed", "weight", "keep", {}, {{"weights", 512}}, std::nullopt},
                {"layers.0.attn.q", "weight", "gptq", params, {{"weights", 100}}, 0.5},
                {"layers.0.attn.k", "weight", "gptq", params, {{"weights", 64}}, std::nullopt}};
  plan.totals["weights"] = 1500;
  plan.damage = 0.25;
  plan.structure = StructureSpec{"ziplm", {{"damping", "0.02"}}, plan.calibration, {{0, 64, -1, false}}};
  return plan;
}

std::string with(std::string text, const std::string& from, const std::string& to) {
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

TEST(Plan, RoundTripsThroughJson) {
  const Plan plan = sample();
  const auto read = plan_from_json(plan_to_json(plan));
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(*read, plan);
  EXPECT_EQ(plan_to_json(*read), plan_to_json(plan));
  Plan wide = plan;
  wide.activation_bits = 16;
  EXPECT_EQ(plan_from_json(plan_to_json(wide)).value(), wide);
}

TEST(Plan, IsWrittenForEditing) {
  const std::string text = plan_to_json(sample());
  EXPECT_NE(
      text.find("\n  {\"site\":\"layers.0.attn.q\",\"kind\":\"weight\",\"method\":\"gptq\",\"params\":{\"bits\":4,"
                "\"damp\":0.01,\"act_order\":true,\"clip\":\"mse\"}"),
      std::string::npos)
      << text;
}

TEST(Plan, HashFollowsWhatDecidesTheOutputAndNothingElse) {
  const Plan plan = sample();
  const std::string hash = plan_hash(plan);
  Plan same = plan;
  same.model = "renamed";
  same.calibration.files[0].path = "elsewhere.txt";
  same.budgets.clear();
  same.totals["weights"] = 1;
  same.sites[0].costs["weights"] = 9;
  same.damage.reset();
  EXPECT_EQ(plan_hash(same), hash);
  const auto changed = [&](auto change) {
    Plan other = plan;
    change(other);
    return plan_hash(other) != hash;
  };
  EXPECT_TRUE(changed([](Plan& p) { p.seed = 8; }));
  EXPECT_TRUE(changed([](Plan& p) { p.model_hash[0] = 'c'; }));
  EXPECT_TRUE(changed([](Plan& p) { p.calibration.files[0].sha256[0] = 'c'; }));
  EXPECT_TRUE(changed([](Plan& p) { p.calibration.tokens = 4097; }));
  EXPECT_TRUE(changed([](Plan& p) { p.sites[2].params[0].second = "3"; }));
  EXPECT_TRUE(changed([](Plan& p) { p.sites[2].method = "rtn"; }));
  EXPECT_TRUE(changed([](Plan& p) { p.activation_bits = 16; }));
  EXPECT_TRUE(changed([](Plan& p) { p.structure = StructureSpec{"ziplm", {}, p.calibration, {{2, 64, -1, false}}}; }));
}

TEST(Plan, RecipeStaysSmall) {
  Plan plan = sample();
  for (int i = 1; i < 30; ++i) {
    SiteChoice site = plan.sites[1];
    site.site = "layers." + std::to_string(i) + ".attn.q";
    plan.sites.push_back(site);
  }
  EXPECT_LT(recipe_json(plan).size(), 1300u);
}

struct Hostile {
  const char *from, *to, *expected;
};

TEST(Plan, RefusesWhatIsWrongByName) {
  const std::string good = plan_to_json(sample());
  for (const Hostile& h : std::initializer_list<Hostile>{
           {"\"version\": 1", "\"version\": 2", "version: 2 is unknown"},
           {"\"version\": 1", "\"version\": -1", "-1 is not a whole number"},
           {"\"version\": 1", "\"version\": 1, \"colour\": 3", "unknown field \"colour\""},
           {"\"version\": 1,", "", "version: is missing"},
           {"\"seed\": 7", "\"seed\": 7.5", "7.5 is not a whole number"},
           {"\"method\":\"gptq\"", "\"method\":7", "7 is not a string"},
           {"\"method\":\"gptq\"", "\"metod\":\"gptq\"", "'method' is missing"},
           {"\"bits\":4", "\"bits\":[4]", "\"bits\" is [4]"},
           {"layers.0.attn.k", "layers.0.attn.q", "is listed twice"},
           {"\"costs\":{\"weights\":100}", "\"costs\":{\"weights\":-1}", "-1 is not a whole number"},
           {"\"costs\":{\"weights\":100}", "\"costs\":{\"wait\":1}", "unknown field \"wait\""},
           {"\"damage\":0.5", "\"damage\":\"low\"", "\"low\" is not a number"},
           {"\"tokens\":4096", "\"tokens\":18446744073709551615", "out of range"},
           {"\"length\":128", "\"length\":0", "length 0"},
           {"\"self\":false", "\"self\":true", "exclude each other"},
           {kText.c_str(), "xyz", "not a SHA-256"},
           {"\"seed\": 7", "\"seed\": 7, \"activation_bits\": 8", "activation_bits: 8"},
           {"\"sites\": [", "\"sites\": 5, \"x\": [", "unknown field"},
       }) {
    const auto read = plan_from_json(with(good, h.from, h.to));
    ASSERT_FALSE(read.ok()) << h.to;
    EXPECT_NE(read.error().message.find(h.expected), std::string::npos) << read.error().message;
    EXPECT_EQ(read.error().message.find('\n'), std::string::npos);
  }
}

TEST(Plan, SurvivesTruncationAndNoise) {
  const std::string good = plan_to_json(sample());
  for (std::size_t n = 0; n + 2 < good.size(); ++n) EXPECT_FALSE(plan_from_json(good.substr(0, n)).ok()) << n;
  Rng rng(3);
  int refused = 0;
  for (int round = 0; round < 2000; ++round) {
    std::string bad = good;
    for (int i = 0; i < 3; ++i) bad[rng.below(bad.size())] = static_cast<char>(rng.below(256));
    refused += !plan_from_json(bad).ok();
  }
  EXPECT_GT(refused, 1000);
  EXPECT_FALSE(plan_from_json(std::string(1'000'000, '[')).ok());
}

TEST(Plan, BudgetsAreCheckedToTheByte) {
  Plan plan = sample();
  plan.budgets["weights"] = 1500;
  EXPECT_TRUE(check_budgets(plan).ok());
  plan.budgets["weights"] = 1499;
  const Status over = check_budgets(plan);
  ASSERT_FALSE(over.ok());
  EXPECT_NE(over.error().message.find("1,499"), std::string::npos) << over.error().message;
  EXPECT_EQ(site_cost(plan, kWeights), 676u);
}

TEST(Plan, BlocksAreLayersOrSingleSites) {
  EXPECT_EQ(block_of("layers.12.mlp.up"), "layers.12");
  EXPECT_EQ(block_of("embed"), "embed");
  EXPECT_EQ(block_of("head"), "head");
}

}  // namespace
}  // namespace sparing
