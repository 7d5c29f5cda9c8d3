#include "eval/claim_result.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/atomic_file.h"
#include "base/testing.h"

namespace sparing {
namespace {

ClaimResult result(std::vector<double> ours, std::vector<double> baseline, double factor = 1) {
  ClaimResult r;
  r.id = "a-b";
  r.method = "a";
  r.claim = "a is better than b";
  r.model = "m";
  r.metric = "kld_mean";
  r.factor = factor;
  for (std::size_t i = 0; i < ours.size(); ++i) r.seeds.push_back(i);
  r.ours = {"a bits=3", 1000, 1100, std::move(ours)};
  r.baseline = {"b bits=3", 1000, 1090, std::move(baseline)};
  r.text = "t.txt";
  r.calibration = "self";
  r.context = 64;
  r.windows = 4;
  r.calibration_tokens = 128;
  judge(r);
  return r;
}

TEST(ClaimResult, HoldsWhereTheMeanAndEverySeedDo) {
  const ClaimResult good = result({1, 2, 3}, {2, 4, 6}, 0.5);
  EXPECT_TRUE(good.pass);
  EXPECT_EQ(good.reason, "0.5 of the baseline's, at most 0.5 was claimed; so on every seed");
  const ClaimResult lucky = result({1, 1, 3}, {2, 2, 2.5});
  EXPECT_FALSE(lucky.pass);
  EXPECT_NE(lucky.reason.find("only on 2 of 3 seeds"), std::string::npos) << lucky.reason;
  const ClaimResult worse = result({2, 2}, {1, 1});
  EXPECT_FALSE(worse.pass);
  EXPECT_NE(worse.reason.find("2 of the baseline's"), std::string::npos) << worse.reason;
  EXPECT_NE(worse.reason.find("; on 0 of 2 seeds"), std::string::npos) << worse.reason;
}

TEST(ClaimResult, FewerBytesForTheBaselineProveNothing) {
  ClaimResult r = result({1}, {2});
  EXPECT_TRUE(r.pass);
  r.baseline.bytes = 999;
  judge(r);
  EXPECT_FALSE(r.pass);
  EXPECT_NE(r.reason.find("fewer bytes"), std::string::npos);
  EXPECT_FALSE(result({}, {}).pass);
}

TEST(ClaimResult, SpreadIsTheStandardDeviation) {
  const Estimate e = over_seeds({1, 2, 3, 6});
  EXPECT_DOUBLE_EQ(e.value, 3);
  EXPECT_NEAR(e.error, std::sqrt((4 + 1 + 0 + 9) / 3.0), 1e-12);
  EXPECT_EQ(over_seeds({5}).error, 0);
}

TEST(ClaimResult, JsonBeginsWithTheAgreedFieldsAndReadsBack) {
  const ClaimResult r = result({1, 2}, {2, 4}, 0.75);
  const nlohmann::ordered_json json = to_json(r);
  const char* fields[] = {"id",     "claim", "model", "bytes", "ours", "baseline", "baseline_name",
                          "metric", "seeds", "pass",  "reason"};
  auto at = json.begin();
  for (const char* field : fields) EXPECT_EQ((at++).key(), field);
  EXPECT_EQ(json["ours"], 1.5);
  EXPECT_EQ(json["baseline_name"], "b bits=3");
  const auto back = claim_from_json(json.dump(), "[t]");
  ASSERT_TRUE(back.ok()) << back.error().message;
  EXPECT_EQ(to_json(*back), json);
  EXPECT_EQ(claims_page({*back}), claims_page({r}));
  EXPECT_TRUE(to_json(result({}, {}))["ours"].is_null());
  for (const char* bad : {"", "[]", "{}", "{\"id\": 3}", "{\"id\": \"x\", \"claim\": \"y\"}"}) {
    const auto refused = claim_from_json(bad, "[t]");
    ASSERT_FALSE(refused.ok()) << bad;
    EXPECT_EQ(refused.error().message.substr(0, 3), "[t]");
  }
}

TEST(ClaimResult, AFolderIsOnePage) {
  const testkit::TemporaryFolder folder;
  ClaimResult b = result({1}, {2}), a = result({3}, {2}), other = result({1}, {2});
  b.id = "z-late";
  a.id = "c-early";
  other.model = "l";
  for (const ClaimResult& r : {b, a, other}) {
    ASSERT_TRUE(write_file_atomically(folder / claim_file_name(r), to_json(r).dump()).ok());
  }
  ASSERT_TRUE(write_file_atomically(folder / "else.json", "{\"name\": 1}").ok());
  const ClaimFolder read = read_claims(folder.path());
  ASSERT_EQ(read.results.size(), 3u);
  EXPECT_EQ(read.results[0].model, "l");
  EXPECT_EQ(read.results[1].id, "c-early");
  EXPECT_EQ(read.problems.size(), 1u);
  const std::string page = claims_page(read.results);
  EXPECT_NE(page.find("## l\n\n1 of 1 hold"), std::string::npos) << page;
  EXPECT_NE(page.find("## m\n\n1 of 2 hold"), std::string::npos) << page;
  EXPECT_NE(page.find("| **no** |"), std::string::npos);
  EXPECT_TRUE(read_claims(folder / "nowhere").results.empty());
}

// The page in the repository is what its files say.
TEST(ClaimResult, TheCommittedPageIsItsFiles) {
  const std::filesystem::path folder = std::filesystem::path(SPARING_SOURCE_DIR) / "claims";
  const ClaimFolder read = read_claims(folder);
  EXPECT_TRUE(read.problems.empty()) << read.problems.front();
  ASSERT_FALSE(read.results.empty());
  const auto page = read_text_file(folder / "README.md");
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(*page, claims_page(read.results)) << "sparing claims --page writes it again";
  for (const ClaimResult& r : read.results) {
    ClaimResult again = r;
    judge(again);
    if (!r.ours.values.empty()) {
      EXPECT_EQ(again.pass, r.pass) << r.id;
      EXPECT_EQ(again.reason, r.reason) << r.id;
    }
    EXPECT_TRUE(std::filesystem::exists(folder / claim_file_name(r))) << r.id;
  }
}

}  // namespace
}  // namespace sparing
