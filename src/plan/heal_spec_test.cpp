// The plan's section on healing: written and read back, what decides the output, and what is refused.

#include "plan/heal_spec.h"

#include <gtest/gtest.h>

#include "formats/test_models.h"
#include "plan/compose.h"
#include "plan/execute.h"

namespace sparing {
namespace {

using Json = nlohmann::ordered_json;

Plan healed_plan() {
  Plan plan;
  plan.model_hash = std::string(64, 'a');
  plan.sites.push_back({"embed", "weight", "rtn", {{"bits", "4"}}, {}, std::nullopt});
  HealSpec heal;
  heal.text = {false, {{"some text.txt", std::string(64, 'b')}}, 51200, 512};
  heal.batch = 8;
  heal.scale_rate = 0.0125;
  heal.vector_rate = 0.25;
  heal.code_rate = 0.03125;
  heal.stop = 0.001;
  heal.bf16 = false;
  plan.heal = heal;
  return plan;
}

TEST(HealSpec, RoundTripsThroughThePlan) {
  Plan plan = healed_plan();
  auto read = plan_from_json(plan_to_json(plan));
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(*read, plan);
  plan.heal->text = {true, {}, 4096, 128};
  plan.heal->bf16 = true;
  read = plan_from_json(plan_to_json(plan));
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(*read, plan);
  plan.heal.reset();
  read = plan_from_json(plan_to_json(plan));
  ASSERT_TRUE(read.ok());
  EXPECT_FALSE(read->heal.has_value());
}

TEST(HealSpec, HashFollowsWhatDecidesTheOutput) {
  const Plan plan = healed_plan();
  const std::string hash = plan_hash(plan);
  const auto changed = [&](auto change) {
    Plan other = plan;
    change(other);
    return plan_hash(other) != hash;
  };
  EXPECT_TRUE(changed([](Plan& p) { p.heal.reset(); }));
  EXPECT_TRUE(changed([](Plan& p) { p.heal->text.tokens += 512; }));
  EXPECT_TRUE(changed([](Plan& p) { p.heal->text.length = 256; }));
  EXPECT_TRUE(changed([](Plan& p) { p.heal->text.files[0].sha256 = std::string(64, 'c'); }));
  EXPECT_TRUE(changed([](Plan& p) { p.heal->batch = 4; }));
  EXPECT_TRUE(changed([](Plan& p) { p.heal->scale_rate = 0.02; }));
  EXPECT_TRUE(changed([](Plan& p) { p.heal->vector_rate = 0.02; }));
  EXPECT_TRUE(changed([](Plan& p) { p.heal->code_rate = 0; }));
  EXPECT_TRUE(changed([](Plan& p) { p.heal->stop = 0; }));
  EXPECT_TRUE(changed([](Plan& p) { p.heal->bf16 = true; }));
  EXPECT_FALSE(changed([](Plan& p) { p.heal->text.files[0].path = "elsewhere"; }));
}

TEST(HealSpec, WhatMayBeLeftOutHasDefaults) {
  const auto spec = heal_from_json(Json::parse(R"({"self": true, "tokens": 4096, "length": 128})"));
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  HealSpec expected;
  expected.text = {true, {}, 4096, 128};
  EXPECT_EQ(*spec, expected);
}

TEST(HealSpec, RefusesWhatIsWrongByName) {
  const auto refused = [](const std::string& field, const Json& value, const std::string& expected) {
    Json json = heal_to_json(*healed_plan().heal);
    if (value.is_null()) {
      json.erase(field);
    } else {
      json[field] = value;
    }
    const auto read = heal_from_json(Json::parse(json.dump()));  // numbers as they are read from a file
    ASSERT_FALSE(read.ok()) << field << " " << value.dump();
    EXPECT_EQ(read.error().kind, ErrorKind::input);
    EXPECT_NE(read.error().message.find(expected), std::string::npos) << read.error().message;
    EXPECT_EQ(read.error().message.find('\n'), std::string::npos);
  };
  refused("tokens", nullptr, "'tokens' is missing");
  refused("length", nullptr, "'length' is missing");
  refused("tokens", 0, "heal tokens");
  refused("tokens", -5, "heal tokens");
  refused("tokens", 1e300, "heal tokens");
  refused("tokens", std::uint64_t{1} << 50, "out of range");
  refused("length", 1, "heal length");
  refused("batch", 0, "heal batch");
  refused("batch", 5000, "heal batch");
  refused("batch", "many", "heal batch");
  refused("scale_rate", -0.1, "scale_rate");
  refused("scale_rate", 1.5, "scale_rate");
  refused("scale_rate", "fast", "scale_rate");
  refused("code_rate", 1.5, "code_rate");
  refused("vector_rate", 2, "vector_rate");
  refused("stop", -1, "stop");
  refused("products", "f64", "neither bf16 nor f32");
  refused("products", 3, "neither bf16 nor f32");
  refused("colour", "red", "unknown field");
  refused("files", Json::array(), "no text");
  refused("self", true, "exclude each other");
  EXPECT_FALSE(heal_from_json(Json::array()).ok());
  EXPECT_FALSE(heal_from_json(7).ok());
}

TEST(HealSpec, TokensOrTimeFromTheCommandLine) {
  EXPECT_EQ(std::get<HealTokens>(*parse_heal("51200")).tokens, 51200);
  EXPECT_EQ(std::get<HealTime>(*parse_heal("time=10min")).seconds, 600);
  EXPECT_EQ(std::get<HealTime>(*parse_heal("time=90s")).seconds, 90);
  for (const char* wrong : {"", "0", "-3", "many", "51200x", "time=", "time=0s", "time=-1min", "tokens=3", "5e4"}) {
    const auto refused = parse_heal(wrong);
    ASSERT_FALSE(refused.ok()) << wrong;
    EXPECT_EQ(refused.error().kind, ErrorKind::usage);
    EXPECT_NE(refused.error().message.find("--heal time=10min"), std::string::npos);
  }
}

}  // namespace
}  // namespace sparing
