#include <gtest/gtest.h>

#include <fstream>

#include "base/testing.h"
#include "text/tokenizer.h"

namespace sparing {
namespace {

// Tokenizers ask the model for a special token's id, and a vocabulary with the same piece twice answers with the last.
TEST(TokenizerJson, OfEqualPiecesTheLastGivesASpecialTokenItsId) {
  const testkit::TemporaryFolder folder;
  const auto path = folder / "tokenizer.json";
  std::ofstream(path) << R"({"added_tokens": [{"id": 1, "content": "<s>", "special": true, "normalized": false}],
    "model": {"type": "Unigram", "unk_id": 0,
              "vocab": [["<unk>", 0.0], ["<s>", 0.0], ["a", -1.0], ["<s>", -9.7], ["b", -2.0]]}})";
  const auto tokenizer = Tokenizer::load(HfTokenizerFiles{path, {}});
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ((*tokenizer)->encode("a<s>b", false, true), (std::vector<Token>{2, 3, 4}));
}

}  // namespace
}  // namespace sparing
