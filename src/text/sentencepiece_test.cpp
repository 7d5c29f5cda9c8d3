#include "text/sentencepiece.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/atomic_file.h"

namespace sparing {
namespace {

const std::string kGolden = SPARING_SOURCE_DIR "/tests/golden/sentencepiece/";

TEST(SentencePiece, EncodesAsTheLibraryDoesAndDecodesBack) {
  const auto model = read_text_file(kGolden + "tokenizer.model"), cases = read_text_file(kGolden + "cases.json");
  ASSERT_TRUE(model.ok() && cases.ok());
  const auto tokenizer = load_sentencepiece(*model, "");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  const auto json = nlohmann::json::parse(*cases, nullptr, false);
  ASSERT_GT(json.size(), 5u);
  for (const auto& c : json) {
    const std::string text = c["text"];
    const auto ids = (*tokenizer)->encode(text, false, false);
    EXPECT_EQ(ids, c["ids"].get<std::vector<Token>>()) << text;
    EXPECT_EQ((*tokenizer)->decode(ids, false), text);
  }
  EXPECT_TRUE((*tokenizer)->adds_bos());
}

TEST(SentencePiece, ADamagedModelIsRefused) {
  const auto model = read_text_file(kGolden + "tokenizer.model");
  ASSERT_TRUE(model.ok());
  EXPECT_FALSE(load_sentencepiece(model->substr(0, model->size() / 2), "").ok());
  EXPECT_FALSE(load_sentencepiece("not a model", "").ok());
}

}  // namespace
}  // namespace sparing
