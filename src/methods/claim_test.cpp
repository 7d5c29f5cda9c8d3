#include "methods/claim.h"

#include <gtest/gtest.h>

#include <set>

#include "methods/method.h"

namespace sparing {
namespace {

TEST(Claims, SettingsAreEveryCombinationInOrder) {
  const auto settings = claim_settings("bits=3|4 group=16..24:4 clip=mse");
  ASSERT_TRUE(settings.ok()) << settings.error().message;
  ASSERT_EQ(settings->size(), 6u);
  EXPECT_EQ((*settings)[1],
            (std::vector<std::pair<std::string, std::string>>{{"bits", "3"}, {"group", "20"}, {"clip", "mse"}}));
  EXPECT_EQ((*settings)[5][0].second, "4");
  EXPECT_EQ((*settings)[5][1].second, "24");
  EXPECT_EQ(claim_settings("")->size(), 1u);
  EXPECT_EQ(claim_settings("group=8..10|64")->size(), 4u);
  for (const char* bad : {"bits", "=3", "bits=", "group=8..4", "group=1..9:0", "group=a..b", "group=1..99999999"}) {
    EXPECT_FALSE(claim_settings(bad).ok()) << bad;
  }
}

void expect_side(const ClaimSide& side) {
  for (const auto& [name, params] : {std::pair{side.method, side.params}, {side.embed_method, side.embed_params}}) {
    const auto method = find_method(name);
    ASSERT_TRUE(method.ok()) << method.error().message;
    const auto settings = claim_settings(params);
    ASSERT_TRUE(settings.ok()) << settings.error().message;
    for (const auto& setting : *settings) {
      const auto made = Params::make(**method, setting);
      EXPECT_TRUE(made.ok()) << made.error().message;
    }
  }
}

// A weight method without a claim says why.
TEST(Claims, EveryWeightMethodHasOneOrAReason) {
  std::set<std::string_view> ids;
  for (const Method* method : all_methods()) {
    SCOPED_TRACE(method->name);
    if (method->kind == MethodKind::weights) {
      EXPECT_NE(method->claims.empty(), method->no_claim.empty());
    }
    for (const Claim& claim : method->claims) {
      SCOPED_TRACE(claim.id);
      EXPECT_TRUE(claim.id.starts_with(std::string(method->name) + "-"));
      EXPECT_TRUE(ids.insert(claim.id).second) << "twice";
      EXPECT_EQ(claim.id.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_-"), std::string_view::npos);
      EXPECT_GT(claim.text.size(), 20u);
      EXPECT_FALSE(claim.text.ends_with("."));
      EXPECT_TRUE(claim.metric == "kld_mean" || claim.metric == "ppl");
      EXPECT_GT(claim.factor, 0);
      EXPECT_LE(claim.factor, 1.1);
      EXPECT_EQ(claim.ours.method, method->name);
      EXPECT_EQ(claim_settings(claim.ours.params)->size(), 1u) << "only the baseline is made to fit";
      EXPECT_FALSE(claim.ours.method == claim.baseline.method && claim.ours.params == claim.baseline.params &&
                   claim.ours.embed_params == claim.baseline.embed_params);
      expect_side(claim.ours);
      expect_side(claim.baseline);
    }
  }
}

}  // namespace
}  // namespace sparing
