#include "plan/coding_cost.h"

#include <gtest/gtest.h>

#include "base/units.h"

namespace sparing {
namespace {

/// One layer of two matrices and a head, in the proportions of a small model: the head is larger than the layer.
struct Case {
  ModelConfig config;
  std::vector<BoundSite> sites;
  Plan plan;

  Case() {
    config.hidden = 512;
    config.layers.resize(1);
    config.layers[0].ffn = 2048;
    for (const auto& [name, rows, cols] :
         {std::tuple{"layers.0.mlp.up", 2048, 512}, {"layers.0.mlp.down", 512, 2048}, {"head", 65536, 512}}) {
      BoundSite site;
      site.site.name = name;
      site.site.rows = rows;
      site.site.cols = cols;
      site.site.role = std::string_view(name) == "head" ? SiteRole::head : SiteRole::linear;
      sites.push_back(site);
    }
  }
  double mib(std::int64_t tokens, std::uint64_t max_ram = 0) {
    plan.calibration.tokens = tokens;
    return static_cast<double>(coding_peak(plan, sites, config, max_ram)) / static_cast<double>(kMiB);
  }
};

// One layer's forward is 2 * 2048 * 512, its statistics 512^2 / 2 + 2048^2 / 2, and 512^2 / 2 for the head; correction
// takes another forward, twice the statistics, and the damage of the stream that mlp.down joins.
TEST(CodingSeconds, CorrectionCostsMoreThanASecondPass) {
  Case c;
  c.plan.calibration.tokens = 1000;
  EXPECT_DOUBLE_EQ(coding_seconds(c.plan, c.sites, 0.01, 0), 10);
  const auto gptq = find_method("gptq");
  ASSERT_TRUE(gptq.ok());
  c.sites[1].method = *gptq;
  c.sites[1].params = *Params::make(**gptq, {{"correct", "1"}});
  const double once = 2.0 * 2048 * 512, statistics = (2 * 512.0 * 512 + 2048.0 * 2048) / 2;
  EXPECT_NEAR(coding_seconds(c.plan, c.sites, 0.01, 0),
              10 * (2 * once + 3 * statistics + 512.0 * 2048) / (once + statistics), 1e-9);
}

TEST(CodingSeconds, GuidanceTakesABackwardPass) {
  Case c;
  c.plan.calibration.tokens = 1000;
  const Method* gptq = find_method("gptq").value();
  c.sites[1].method = gptq;
  c.sites[1].params = *Params::make(*gptq, {{"guided", "true"}});
  const double once = 2.0 * 2048 * 512, statistics = (2 * 512.0 * 512 + 2048.0 * 2048) / 2;
  double head = 0;
  for (const BoundSite& site : c.sites)
    if (site.site.tied || site.site.role == SiteRole::head)
      head += static_cast<double>(site.site.rows * site.site.cols);
  EXPECT_GT(head, 0);
  EXPECT_NEAR(coding_seconds(c.plan, c.sites, 0.01, 0), 10 + 10 * (3 * once + 2 * head) / (once + statistics), 1e-9);
}

TEST(CodingPeak, TurnedInputsTakeACopyOfAWeightAndOfItsMoments) {
  const Method* gptq = find_method("gptq").value();
  const auto peak = [&](const char* basis) {
    Case c;
    c.sites.pop_back();  // the head, which is larger than the layer
    c.sites[1].method = gptq;
    c.sites[1].params = *Params::make(*gptq, {{"basis", basis}});
    EXPECT_EQ(c.sites[1].turns(), std::string_view(basis) != "none");
    return c.mib(1000);
  };
  const double copies = 4.0 * (512 + 2 * 2048) * 2048 / static_cast<double>(kMiB);
  EXPECT_NEAR(peak("hadamard") - peak("none"), copies, 1e-6);
  EXPECT_NEAR(peak("scaled") - peak("none"), copies, 1e-6);
}

TEST(CodingSeconds, PolishCostsMoreThanADraft) {
  Case c;
  c.plan.calibration.tokens = 1000;
  const auto gptq = find_method("gptq");
  ASSERT_TRUE(gptq.ok());
  const auto seconds = [&](const std::vector<std::pair<std::string, std::string>>& params) {
    c.sites[1].method = *gptq;
    c.sites[1].params = *Params::make(**gptq, params);
    return coding_seconds(c.plan, c.sites, 0, 1e-9);
  };
  const double draft = 1e-9 * 512 * 2048 * 2048;
  EXPECT_NEAR(seconds({{"refine", "0"}}), draft, 1e-9);
  EXPECT_NEAR(seconds({{"refine", "2"}}), 1.9 * draft, 1e-9);
  EXPECT_NEAR(seconds({{"refine", "2"}, {"scale", "coded6"}}), 2.5 * draft, 1e-9);
}

TEST(FinishedShare, FallsWithWhatTheTextBearsOut) {
  Case c;
  c.plan.calibration.tokens = 32768;
  EXPECT_EQ(finished_share(c.plan, c.sites), 1);
  const Method* gptq = find_method("gptq").value();
  c.sites[1].method = gptq;
  c.sites[1].params = *Params::make(*gptq, {{"correct", "1"}});
  EXPECT_NEAR(finished_share(c.plan, c.sites), 1 - 0.24 * 32768 / (32768 + 9 * 2048.0), 1e-9);
  c.plan.calibration.tokens = 2048;
  EXPECT_NEAR(finished_share(c.plan, c.sites), 1 - 0.24 / 10, 1e-9);
}

TEST(CodingPeak, IsTheLargestBlocksAndItsOwnActivations) {
  Case c;
  // The program, 32 Mi weights at ten bytes, of those 4 Mi at 24 more, second moments and their factor.
  EXPECT_NEAR(c.mib(1024), 200 + 320 + 96 + 3 + 4, 1);
  // With much text the layer counts, whose last product reads what is wider than the stream.
  const double few = c.mib(1 << 16), more = c.mib(1 << 17);
  EXPECT_NEAR(more - few, 4 * (2 * 512 + 2048) * 65536.0 / static_cast<double>(kMiB), 1);
}

TEST(CodingPeak, ActivationsBeyondTheLimitGoToAFile) {
  Case c;
  EXPECT_NEAR(c.mib(1 << 18, 1024 * kMiB), 1024, 1);
  EXPECT_NEAR(c.mib(1 << 18, kMiB), c.mib(0), 1);
}

}  // namespace
}  // namespace sparing
