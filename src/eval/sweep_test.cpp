#include "eval/sweep.h"

#include <gtest/gtest.h>

#include <cmath>

namespace sparing {
namespace {

TEST(Sweep, DecodingsAreEveryPairAndGreedyOnce) {
  const float temperatures[] = {0, 0.7f, 1};
  const std::int32_t top_ks[] = {0, 40};
  const auto all = decodings(temperatures, top_ks);
  ASSERT_EQ(all.size(), 5u);
  EXPECT_EQ(describe(all[0]), "greedy");
  EXPECT_EQ(describe(all[1]), "temperature 0.7");
  EXPECT_EQ(describe(all[4]), "temperature 1, top-k 40");
}

TEST(Sweep, DepartureByHand) {
  // Reference (1/2, 1/4, 1/4), candidate (1/4, 1/2, 1/4).
  const float ln2 = std::log(2.0f);
  const std::vector<float> reference = {ln2, 0, 0}, candidate = {0, ln2, 0};
  const Departure plain = departure(reference, candidate, {1, 0});
  EXPECT_NEAR(plain.differs, 0.25, 1e-7);
  EXPECT_NEAR(plain.kl, std::log(2.0) / 4, 1e-7);
  EXPECT_EQ(departure(reference, candidate, {}).differs, 1);
  EXPECT_EQ(departure(reference, reference, {}).differs, 0);
  // At half the temperature probabilities are squared: (4, 1, 1) / 6 and (1, 4, 1) / 6.
  EXPECT_NEAR(departure(reference, candidate, {0.5f, 0}).differs, 0.5, 1e-7);
  EXPECT_NEAR(departure(reference, candidate, {0.5f, 0}).kl, (4 - 1) / 6.0 * std::log(4.0), 1e-6);
  // The two likeliest: tokens 0 and 1 (2/3, 1/3) and 1 and 0 (2/3, 1/3).
  EXPECT_NEAR(departure(reference, candidate, {1, 2}).differs, 1.0 / 3, 1e-7);
  // Of different sets nothing is shared: the reference samples 0, 1, the candidate 2, 3.
  const std::vector<float> a = {5, 5, 0, 0}, b = {0, 0, 5, 5};
  EXPECT_NEAR(departure(a, b, {1, 2}).differs, 1, 1e-7);
  EXPECT_NEAR(departure(a, b, {1, 2}).kl, 0, 1e-7) << "among 0 and 1 the candidate is as even";
  EXPECT_EQ(departure(a, a, {1, 2}).kl, 0);
}

SweepRow row(Decoding how, std::int64_t length, double differs, double mine, double theirs) {
  SweepRow r;
  r.how = how;
  r.length = length;
  r.departure.differs = {differs, 0.001};
  r.candidate.repetition4 = {mine, 0.01};
  r.reference.repetition4 = {theirs, 0.01};
  return r;
}

TEST(Sweep, AdviceFollowsTheNumbers) {
  const std::vector<SweepRow> rows = {row({}, 64, 0.10, 0.50, 0.20), row({0.7f, 0}, 64, 0.15, 0.05, 0.05),
                                      row({1, 0}, 64, 0.25, 0.01, 0.01), row({0.7f, 0}, 256, 0.15, 0.21, 0.06),
                                      row({1, 0}, 256, 0.25, 0.02, 0.01)};
  const auto lines = sweep_advice(rows);
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_EQ(lines[0],
            "It repeats itself more than the reference at greedy, 64 tokens: 50.0 % of 4-grams against 20.0 %.");
  EXPECT_EQ(lines[1].find("It repeats itself more than the reference at temperature 0.7, 256 tokens: 21.0 %"), 0u);
  EXPECT_EQ(lines[2], "It differs least from the reference at greedy: in 10.0 ± 0.1 % of choices.");
  EXPECT_NE(lines[3].find("temperature 1 is nearest to it: 25.0 %"), std::string::npos) << lines[3];
  const auto none = sweep_advice(std::vector<SweepRow>{row({}, 64, 0.1, 0.5, 0.2)});
  EXPECT_NE(none.back().find("at every decoding tried"), std::string::npos);
  EXPECT_TRUE(sweep_advice({}).empty());
}

}  // namespace
}  // namespace sparing
