// Which rates stand for a site, what lies between them, and what a class measured alone makes of estimates.

#include "plan/anchors.h"

#include <gtest/gtest.h>

namespace sparing {
namespace {

SurveyedSite site_of(const std::vector<std::uint64_t>& bytes, const std::vector<double>& damage) {
  SurveyedSite site;
  site.site.name = "embed";
  for (const std::uint64_t b : bytes) site.options.push_back({{"rtn", {}}, b});
  site.damage = damage;
  return site;
}

TEST(Anchors, ALadderTakesTheBestOfEachStepOfBytes) {
  // Steps of 1.4 from 100: to 100, 140, 196, 274.4.
  const SurveyedSite site = site_of({100, 110, 130, 139, 141, 190, 260, 270}, {8, 9, 5, 6, 4, 4.5, 1, 2});
  EXPECT_EQ(ladder(site), (std::vector<std::size_t>{0, 2, 4, 6}));
  SurveyedSite kept = site_of({100, 300}, {1, 0});
  kept.options[1].setting.method = kKeep;
  EXPECT_EQ(ladder(kept), std::vector<std::size_t>{0});
  EXPECT_EQ(ladder(site_of({5}, {1})), std::vector<std::size_t>{0});
}

TEST(Anchors, FactorsLieBetweenThoseOfTheRungs) {
  const SurveyedSite site = site_of({50, 100, 200, 400, 800}, {5, 4, 3, 2, 1});
  const auto factors = factors_between(site, {1, 3}, {9, 1});
  ASSERT_EQ(factors.size(), 5u);
  EXPECT_DOUBLE_EQ(factors[0], 9);
  EXPECT_DOUBLE_EQ(factors[1], 9);
  EXPECT_NEAR(factors[2], 3, 1e-9);
  EXPECT_DOUBLE_EQ(factors[3], 1);
  EXPECT_DOUBLE_EQ(factors[4], 1);
  EXPECT_EQ(factors_between(site, {}, {}), std::vector<double>(5, 1.0));
}

TEST(Anchors, SitesOfOneKindAreOneClass) {
  std::vector<SurveyedSite> sites;
  for (const char* name : {"embed", "layers.0.attn.q", "layers.0.mlp.up", "layers.1.attn.q", "head"}) {
    sites.emplace_back().site.name = name;
  }
  const SiteClasses classes = classes_of(sites);
  EXPECT_EQ(classes.names, (std::vector<std::string>{"embed", "attn.q", "mlp.up", "head"}));
  EXPECT_EQ(classes.of, (std::vector<std::size_t>{0, 1, 2, 1, 3}));
}

}  // namespace
}  // namespace sparing
