#include "text/word_splitters.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "text/unicode.h"

namespace sparing {
namespace {

class Collect final : public WordSink {
 public:
  void word(std::string_view w) override { words.emplace_back(w); }
  std::vector<std::string> words;
};
std::vector<std::string> split(KnownPattern pattern, std::string_view text) {
  Collect sink;
  split_words(pattern, text, sink);
  return sink.words;
}
using Words = std::vector<std::string>;

TEST(WordSplitters, Gpt2KeepsContractionsAndTheSpaceBeforeAWord) {
  EXPECT_EQ(split(KnownPattern::gpt2, "We'll  see 123abc!?\n\n x"),
            (Words{"We", "'ll", " ", " see", " 123", "abc", "!?", "\n\n", " x"}));
  EXPECT_EQ(split(KnownPattern::gpt2, "a \t "), (Words{"a", " \t "}));
  EXPECT_EQ(split(KnownPattern::gpt2, "'S's"), (Words{"'", "S", "'s"}));
}

TEST(WordSplitters, Llama3TakesThreeDigitsAndNewlinesWithPunctuation) {
  EXPECT_EQ(split(KnownPattern::llama3, "I'M 12345 (x);\r\n  y"),
            (Words{"I", "'M", " ", "123", "45", " (", "x", ");\r\n", " ", " y"}));
  EXPECT_EQ(split(KnownPattern::llama3, "a \n \n b"), (Words{"a", " \n \n", " b"}));
  EXPECT_EQ(split(KnownPattern::llama3, "'\xC5\xBFx"), (Words{"'\xC5\xBF", "x"}));
}

TEST(WordSplitters, Qwen2AndSmollmTakeDigitsOneByOne) {
  EXPECT_EQ(split(KnownPattern::qwen2, "x 12"), (Words{"x", " ", "1", "2"}));
  EXPECT_EQ(split(KnownPattern::smollm, "x  12 y"), (Words{"x", "  ", "1", "2", " y"}));
}

TEST(WordSplitters, EveryPatternKeepsEveryByte) {
  const std::string text = "\xE4\xBA\xBA 'x\xC2\xA0\xC2\xA0\t\xF0\x9F\x98\x80\xE2\x80\x8D!\n 1\xC2\xBD\xD9\xA1 'll";
  for (const auto p : {KnownPattern::gpt2, KnownPattern::llama3, KnownPattern::qwen2, KnownPattern::smollm}) {
    std::string joined;
    for (const auto& w : split(p, text)) {
      EXPECT_FALSE(w.empty());
      joined += w;
    }
    EXPECT_EQ(joined, text);
  }
}

TEST(WordSplitters, KnowsItsPatternsByTheirText) {
  for (const auto p : {KnownPattern::gpt2, KnownPattern::llama3, KnownPattern::qwen2}) {
    EXPECT_EQ(known_pattern(regex_of(p)), p);
  }
  EXPECT_EQ(known_pattern(R"(\p{L}+)"), KnownPattern::none);
}

TEST(Unicode, ReplacesEachMaximalIllFormedPart) {
  EXPECT_EQ(replace_invalid_utf8("a\xF0\x9F\x98z"), "a\xEF\xBF\xBDz");
  EXPECT_EQ(replace_invalid_utf8("\xED\xA0\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(replace_invalid_utf8("\xC0\xAF"), "\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_EQ(replace_invalid_utf8("\xF4\x90\x80\x80"), "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD");
  EXPECT_TRUE(is_valid_utf8("\xF4\x8F\xBF\xBF \xE2\x96\x81"));
  EXPECT_EQ(complete_utf8_prefix("ab\xE2\x96"), 2u);
  EXPECT_EQ(complete_utf8_prefix("ab\xE2\x96\x81"), 5u);
  EXPECT_EQ(complete_utf8_prefix("ab\xE2\x41"), 4u);
}

TEST(Unicode, ByteAlphabetIsABijection) {
  std::string all, back;
  for (int b = 0; b < 256; ++b) all.push_back(static_cast<char>(b));
  ASSERT_TRUE(byte_level_to_bytes(bytes_to_byte_level(all), back));
  EXPECT_EQ(back, all);
  EXPECT_EQ(bytes_to_byte_level(" \n"), "\xC4\xA0\xC4\x8A");
  EXPECT_FALSE(byte_level_to_bytes("a b", back));
}

}  // namespace
}  // namespace sparing
