#include "plan/options.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace sparing {
namespace {

const SiteInfo kLinear{"layers.0.mlp.up", SiteRole::linear, 96, 64, false};

std::set<std::string> methods_of(const std::vector<SiteOption>& options) {
  std::set<std::string> names;
  for (const SiteOption& option : options) names.insert(option.setting.method);
  return names;
}
std::string value_of(const SiteOption& option, const std::string& name) {
  const auto& params = option.setting.params;
  const auto found = std::ranges::find(params, name, &std::pair<std::string, std::string>::first);
  return found == params.end() ? "" : found->second;
}
OptionLimits limited(const ParamList& settings) {
  OptionLimits limits;
  const Status status = narrow(limits, settings);
  EXPECT_TRUE(status.ok()) << status.error().message;
  return limits;
}

TEST(Options, AllRatesOnceByAscendingBytes) {
  const auto options = site_options(kLinear, {}, 0);
  ASSERT_TRUE(options.ok()) << options.error().message;
  EXPECT_TRUE(std::ranges::is_sorted(*options, {}, &SiteOption::bytes));
  std::set<std::pair<std::string, ParamList>> seen;
  std::set<std::string> bits, groups;
  for (const SiteOption& option : *options) {
    EXPECT_TRUE(seen.emplace(option.setting.method, option.setting.params).second);
    bits.insert(value_of(option, "bits"));
    groups.insert(value_of(option, "group"));
  }
  EXPECT_TRUE(bits.contains("2") && bits.contains("8"));
  EXPECT_EQ(groups.count("0"), 1u);
  EXPECT_EQ(groups.count("64"), 0u) << "a group as wide as the row is the row";
}

TEST(Options, PinsRangesListsAndExclusions) {
  const auto pinned = site_options(kLinear, limited({{"bits", "3..4"}, {"group", "32"}, {"method", "gptq|rtn"}}), 0);
  ASSERT_TRUE(pinned.ok()) << pinned.error().message;
  EXPECT_EQ(methods_of(*pinned), (std::set<std::string>{"gptq", "rtn"}));
  for (const SiteOption& option : *pinned) {
    EXPECT_TRUE(value_of(option, "bits") == "3" || value_of(option, "bits") == "4");
    EXPECT_EQ(value_of(option, "group"), "32");
  }
  const auto excluded = site_options(kLinear, limited({{"method", "!gptq"}}), 100);
  ASSERT_TRUE(excluded.ok());
  EXPECT_EQ(methods_of(*excluded), (std::set<std::string>{"keep"}));
  const auto fixed = site_options(kLinear, limited({{"damping", "0.05"}, {"method", "gptq"}}), 0);
  ASSERT_TRUE(fixed.ok());
  for (const SiteOption& option : *fixed) EXPECT_EQ(value_of(option, "damping"), "0.05");
}

TEST(Options, KeepIsOfferedUnlessMethodsAreNamed) {
  const auto has_keep = [](const std::vector<SiteOption>& options) {
    return std::ranges::any_of(options, [](const SiteOption& o) { return o.setting.method == kKeep; });
  };
  EXPECT_TRUE(has_keep(*site_options(kLinear, {}, 1000)));
  EXPECT_FALSE(has_keep(*site_options(kLinear, limited({{"method", "gptq"}}), 1000)));
  EXPECT_FALSE(has_keep(*site_options(kLinear, limited({{"method", "!keep"}}), 1000)));
  EXPECT_EQ(site_options(kLinear, limited({{"method", "keep"}}), 1000)->size(), 1u);
}

TEST(Options, AnEmbeddingWithoutAHeadIsNotCalibrated) {
  const SiteInfo embedding{"embed", SiteRole::embedding, 512, 64, false};
  EXPECT_EQ(methods_of(*site_options(embedding, {}, 0)), (std::set<std::string>{"rtn"}));
  SiteInfo tied = embedding;
  tied.tied = true;
  EXPECT_TRUE(methods_of(*site_options(tied, {}, 0)).contains("gptq"));
}

TEST(Options, RefusesWhatCannotBe) {
  OptionLimits limits;
  for (const char* bad : {"5..3", "a..b", "3||4", "3|"}) EXPECT_FALSE(narrow(limits, {{"bits", bad}}).ok()) << bad;
  EXPECT_FALSE(narrow(limits, {{"method", "!gptk"}}).ok());
  EXPECT_FALSE(site_options(kLinear, limited({{"bits", "99"}}), 0).ok());
  EXPECT_FALSE(site_options(kLinear, limited({{"colour", "red"}}), 0).ok());
  EXPECT_FALSE(site_options(kLinear, limited({{"method", "gptk"}}), 0).ok());
}

}  // namespace
}  // namespace sparing
