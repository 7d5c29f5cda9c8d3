#include "eval/diversity.h"

#include <gtest/gtest.h>

namespace sparing {
namespace {

using Text = std::vector<Token>;

TEST(Diversity, CountsByHand) {
  const std::vector<Text> texts = {{1, 2, 1, 2, 1}, {1, 2, 3}};
  // 8 unigrams, 3 of them different; bigrams 12 21 12 21 | 12 23: 6, of which 12, 21, 23.
  EXPECT_DOUBLE_EQ(distinct(texts, 1), 3.0 / 8);
  EXPECT_DOUBLE_EQ(distinct(texts, 2), 3.0 / 6);
  EXPECT_DOUBLE_EQ(distinct(texts, 9), 0);
  EXPECT_DOUBLE_EQ(repetition(texts[0], 2), 0.5);
  EXPECT_DOUBLE_EQ(repetition(texts[1], 2), 0);
  EXPECT_DOUBLE_EQ(repetition(texts[1], 4), 0);
  EXPECT_DOUBLE_EQ(repetition(Text(103, 7), 4), 0.99);
}

TEST(Diversity, OfSeveralTexts) {
  const std::vector<Text> texts = {Text(103, 7), {1, 2, 3, 4, 5, 6}};
  const Diversity d = diversity_of(texts);
  EXPECT_EQ(d.texts, 2);
  EXPECT_EQ(d.tokens, 109);
  EXPECT_DOUBLE_EQ(d.repetition4.value, 0.495);
  EXPECT_DOUBLE_EQ(d.distinct1, 7.0 / 109);
  EXPECT_EQ(diversity_of({}).distinct1, 0);
}

TEST(Diversity, PromptsAreSpreadOverTheText) {
  Text tokens;
  for (Token t = 0; t < 80; ++t) tokens.push_back(t);
  const Windows windows = make_windows(tokens, 8, 0, 99).value();
  const auto prompts = prompts_from(windows, 2, 3);
  EXPECT_EQ(prompts, (std::vector<Text>{{99, 1, 2}, {99, 41, 42}}));
  EXPECT_EQ(prompts_from(windows, 100, 100).size(), 10u);
}

}  // namespace
}  // namespace sparing
