#include "plan/sites.h"

#include <gtest/gtest.h>

#include "base/testing.h"
#include "formats/test_models.h"
#include "plan/compose.h"

namespace sparing {
namespace {

const std::string kHash(64, 'a');

class SitesTest : public testing::Test {
 protected:
  void SetUp() override {
    test::write_hf(test::random_model(test::small_config("llama")), folder_.path());
    auto opened = open_checkpoint(folder_.path().string());
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    checkpoint_ = *opened;
  }

  ComposeRequest request(const std::string& method = "rtn") const {
    ComposeRequest r;
    r.linear = {method, {{"bits", "4"}, {"group", "32"}}};
    r.embedding = {"rtn", {{"bits", "8"}, {"group", "32"}}};
    r.calibration = {.self = true, .files = {}, .tokens = 512, .length = 64};
    return r;
  }
  Plan plan(const std::string& method = "rtn") const { return *compose_plan(request(method), *checkpoint_, kHash); }

  testkit::TemporaryFolder folder_;
  std::shared_ptr<const Checkpoint> checkpoint_;
};

std::string refused(const Result<std::vector<BoundSite>>& bound) {
  EXPECT_FALSE(bound.ok());
  if (bound.ok()) return {};
  EXPECT_EQ(bound.error().message.find('\n'), std::string::npos);
  return bound.error().message;
}

TEST_F(SitesTest, EveryMatrixIsASite) {
  const auto sites = weight_sites(*checkpoint_);
  ASSERT_EQ(sites.size(), 1u + 2 * 7);
  EXPECT_EQ(sites.front().name, "embed");
  EXPECT_EQ(sites.front().role, SiteRole::embedding);
  EXPECT_TRUE(sites.front().tied);
  EXPECT_EQ(sites[1].role, SiteRole::linear);
}

TEST_F(SitesTest, ComposedPlansAreCompleteAndBind) {
  Plan p = plan();
  EXPECT_EQ(p.calibration.tokens, 0) << "nothing of the plan calibrates";
  const auto bound = bind_plan(p, *checkpoint_, kHash);
  ASSERT_TRUE(bound.ok()) << bound.error().message;
  EXPECT_EQ(bound->size(), p.sites.size());
  EXPECT_GT(p.sites[1].params.size(), 2u) << "defaults are filled in";
  EXPECT_EQ(plan_from_json(plan_to_json(p))->sites, p.sites);
  EXPECT_EQ(plan("gptq").calibration.tokens, 512);
}

TEST_F(SitesTest, OverridesChangeWhatTheirPatternMatches) {
  ComposeRequest r = request();
  r.overrides.push_back(*parse_override("layers.0.*:bits=8"));
  r.overrides.push_back(*parse_override("layers.1.mlp.down:method=keep"));
  r.overrides.push_back(*parse_override("*.attn.v:method=gptq,damping=0.5"));
  const auto made = compose_plan(r, *checkpoint_, kHash);
  ASSERT_TRUE(made.ok()) << made.error().message;
  for (const SiteChoice& site : made->sites) {
    const auto param = [&](const std::string& name) {
      for (const auto& [n, v] : site.params) {
        if (n == name) return v;
      }
      return std::string();
    };
    if (site.site == "layers.1.mlp.down") {
      EXPECT_EQ(site.method, "keep");
      EXPECT_TRUE(site.params.empty());
      continue;
    }
    EXPECT_EQ(param("bits"), site.site == "embed" || site.site.starts_with("layers.0.") ? "8" : "4") << site.site;
    EXPECT_EQ(site.method, site.site.ends_with("attn.v") ? "gptq" : "rtn");
    if (site.method == "gptq") {
      EXPECT_EQ(std::stod(param("damping")), 0.5);
    }
  }
  r.overrides = {*parse_override("layers.7.*:bits=8")};
  const auto none = compose_plan(r, *checkpoint_, kHash);
  ASSERT_FALSE(none.ok());
  EXPECT_NE(none.error().message.find("layers.7.*"), std::string::npos);
  for (const char* bad : {"", "layers.0", ":bits=8", "x:", "x:bits", "x:bits=", "x:bits=8,", "x:=8"})
    EXPECT_FALSE(parse_override(bad).ok()) << bad;
}

TEST_F(SitesTest, AWideGroupIsTheRow) {
  ComposeRequest r = request();
  r.linear.params[1].second = "128";
  const auto made = compose_plan(r, *checkpoint_, kHash);
  ASSERT_TRUE(made.ok()) << made.error().message;
  for (const SiteChoice& site : made->sites) {
    if (site.site.ends_with(".attn.q")) {
      EXPECT_EQ(site.params[1].second, "64");
    } else if (site.site.ends_with(".mlp.down")) {
      EXPECT_EQ(site.params[1].second, "96");
    }
  }
}

TEST_F(SitesTest, PlansForAnotherModelOrWithWrongSitesAreRefusedByName) {
  Plan p = plan();
  EXPECT_NE(refused(bind_plan(p, *checkpoint_, std::string(64, 'b'))).find("another model"), std::string::npos);
  p = plan();
  p.sites[3].site = "layers.9.attn.q";
  EXPECT_NE(refused(bind_plan(p, *checkpoint_, kHash)).find("layers.9.attn.q"), std::string::npos);
  p = plan();
  p.sites.erase(p.sites.begin() + 2);
  EXPECT_NE(refused(bind_plan(p, *checkpoint_, kHash)).find("is missing"), std::string::npos);
  p = plan();
  p.sites[2].method = "gptk";
  EXPECT_NE(refused(bind_plan(p, *checkpoint_, kHash)).find("gptq"), std::string::npos) << "suggests the near name";
  p = plan();
  p.sites[2].params[0].second = "77";
  EXPECT_NE(refused(bind_plan(p, *checkpoint_, kHash)).find(p.sites[2].site), std::string::npos);
  p = plan();
  p.sites[2].params.emplace_back("colour", "red");
  EXPECT_NE(refused(bind_plan(p, *checkpoint_, kHash)).find("colour"), std::string::npos);
  p = plan();
  p.sites[2].kind = "kv";
  EXPECT_NE(refused(bind_plan(p, *checkpoint_, kHash)).find("kv"), std::string::npos);
  p = plan();
  p.sites[0].method = "gptq";
  p.calibration = {.self = true, .files = {}, .tokens = 512, .length = 64};
  EXPECT_TRUE(bind_plan(p, *checkpoint_, kHash).ok()) << "a tied embedding is the head too";
  p = plan("gptq");
  p.calibration = {};
  EXPECT_NE(refused(bind_plan(p, *checkpoint_, kHash)).find("calibration"), std::string::npos);
}

TEST_F(SitesTest, SizedWeightsHaveTheSizeThatTheMethodEmits) {
  Plan p = plan("gptq");
  const auto bound = bind_plan(p, *checkpoint_, kHash);
  ASSERT_TRUE(bound.ok());
  for (const BoundSite& site : *bound) {
    const auto weight = sized_weight(site, *checkpoint_);
    ASSERT_TRUE(weight.ok()) << weight.error().message;
    EXPECT_EQ(stored_bytes(*weight), *predicted_bytes(*site.method, site.params, site.site.rows, site.site.cols));
  }
}

}  // namespace
}  // namespace sparing
