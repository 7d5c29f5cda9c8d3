#include "plan/claim_runner.h"

#include <gtest/gtest.h>

#include "base/log.h"
#include "formats/test_models.h"

namespace sparing {
namespace {

namespace fs = std::filesystem;

const std::string kHash(64, 'a');

class ClaimRunnerTest : public testing::Test {
 protected:
  void SetUp() override {
    set_log_level(LogLevel::error);
    test::write_hf(test::random_model(test::small_config("llama")), folder_ / "model");
    checkpoint_ = open_checkpoint((folder_ / "model").string()).value();
  }
  ClaimOptions options() {
    ClaimOptions o;
    o.model_name = "tiny";
    o.work = folder_ / "work";
    o.build = "one";
    o.seeds = {1, 2};
    for (Token t = 0; t < 64; ++t) o.text.push_back(t * 7 % 40);
    o.context = 16;
    o.engine.threads = 2;
    o.execution.threads = 2;
    o.on_side = [this](const std::string& what) { sides_.push_back(what); };
    return o;
  }
  ClaimResult run(const Claim& claim, ClaimOptions o) {
    auto runner = ClaimRunner::create(checkpoint_, kHash, std::move(o));
    EXPECT_TRUE(runner.ok()) << runner.error().message;
    auto result = runner->run(claim, "rtn");
    EXPECT_TRUE(result.ok()) << result.error().message;
    return std::move(result).value();
  }

  testkit::TemporaryFolder folder_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::vector<std::string> sides_;
};

constexpr std::string_view kSmall = "bits=8 group=32";
const Claim kClaim{.id = "rtn-x",
                   .text = "five bits diverge less than three",
                   .ours = {"rtn", "bits=5 group=32", "rtn", kSmall},
                   .baseline = {"rtn", "bits=2..8 group=16|32", "rtn", kSmall}};

TEST_F(ClaimRunnerTest, TheBaselineIsTheSmallestWithAsManyBytes) {
  const ClaimResult r = run(kClaim, options());
  EXPECT_EQ(r.ours.name, "rtn bits=5 group=32");
  EXPECT_EQ(r.baseline.name, "rtn bits=5 group=32") << "the same setting, and not one with more bytes";
  EXPECT_EQ(r.ours.bytes, r.baseline.bytes);
  EXPECT_GT(r.ours.bytes, 0u);
  EXPECT_EQ(r.ours.values, r.baseline.values);
  EXPECT_TRUE(r.pass) << r.reason;

  Claim other = kClaim;
  other.baseline.params = "bits=2|3|4|6|7 group=32 clip=mse";
  const ClaimResult more = run(other, options());
  EXPECT_EQ(more.baseline.name, "rtn bits=6 group=32 clip=mse");
  EXPECT_GT(more.baseline.bytes, more.ours.bytes);
  EXPECT_FALSE(more.pass) << "six bits are nearer: " << more.reason;
  ASSERT_EQ(more.ours.values.size(), 2u);
  EXPECT_GT(more.ours.values[0], more.baseline.values[0]);
}

TEST_F(ClaimRunnerTest, WhatCannotBeRunFailsWithTheReason) {
  Claim claim = kClaim;
  claim.baseline.params = "bits=2|3 group=32";
  const ClaimResult few = run(claim, options());
  EXPECT_FALSE(few.pass);
  EXPECT_NE(few.reason.find("no setting of the baseline has"), std::string::npos) << few.reason;
  claim.ours.params = "bits=9 group=32";
  const ClaimResult wide = run(claim, options());
  EXPECT_FALSE(wide.pass);
  EXPECT_NE(wide.reason.find("could not be run"), std::string::npos) << wide.reason;
  EXPECT_NE(wide.reason.find("bits=9"), std::string::npos) << wide.reason;
  EXPECT_TRUE(wide.ours.values.empty());
}

TEST_F(ClaimRunnerTest, FinishedSidesAreNotRunAgain) {
  Claim claim = kClaim;
  claim.baseline.params = "bits=6 group=32";
  const ClaimResult first = run(claim, options());
  EXPECT_EQ(sides_.size(), 4u);
  EXPECT_EQ(sides_[0], "rtn bits=5 group=32, seed 1");
  for (const auto& entry : fs::directory_iterator(folder_ / "work")) {
    EXPECT_EQ(entry.path().extension(), ".json") << "models are removed once scored: " << entry.path();
  }
  sides_.clear();
  const ClaimResult again = run(claim, options());
  EXPECT_EQ(sides_.size(), 0u);
  EXPECT_EQ(again.ours.values, first.ours.values);
  EXPECT_EQ(again.baseline.values, first.baseline.values);
  EXPECT_EQ(again.ours.directory_bytes, first.ours.directory_bytes);

  // A damaged record is no record.
  const fs::path damaged = fs::directory_iterator(folder_ / "work")->path();
  test::write_text(damaged, "{\"kld_mean\": ");
  EXPECT_EQ(run(claim, options()).ours.values, first.ours.values);
  EXPECT_EQ(sides_.size(), 1u);

  // Another build may code otherwise, another seed is another run, more windows are another question.
  for (int change = 0; change < 3; ++change) {
    sides_.clear();
    ClaimOptions o = options();
    o.seeds = {change == 1 ? 3u : 1u};
    if (change == 0) o.build = "two";
    if (change == 2) o.windows = 2;
    run(claim, std::move(o));
    EXPECT_EQ(sides_.size(), 2u) << change;
  }
  sides_.clear();
  ClaimOptions other = options();
  other.build = "three";
  other.any_build = true;
  EXPECT_EQ(run(claim, std::move(other)).ours.values, first.ours.values);
  EXPECT_EQ(sides_.size(), 0u);
}

TEST_F(ClaimRunnerTest, RefusesATextThatFillsNoWindow) {
  ClaimOptions o = options();
  o.context = 128;
  const auto runner = ClaimRunner::create(checkpoint_, kHash, std::move(o));
  ASSERT_FALSE(runner.ok());
  EXPECT_NE(runner.error().message.find("one window needs 128"), std::string::npos);
}

}  // namespace
}  // namespace sparing
