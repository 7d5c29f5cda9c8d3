#include <gtest/gtest.h>

#include "text/compact.h"
#include "text/tokenizer.h"

namespace sparing {
namespace {

/// A byte-level vocabulary: all bytes, then "he", "ll", "hell", "hello".
GgufVocab byte_vocab() {
  GgufVocab v;
  v.model = "gpt2";
  v.pre = "gpt-2";
  v.tokens = {"<|end|>"};
  for (int c = 0x21; c < 0x7F; ++c) v.tokens.push_back(std::string(1, static_cast<char>(c)));
  v.tokens.push_back("\xC4\xA0");
  for (const char* t : {"he", "ll", "hell", "hello"}) v.tokens.push_back(t);
  v.merges = {"l l", "h e", "he ll", "hell o"};
  v.types.assign(v.tokens.size(), 1);
  v.types[0] = 3;
  v.bos = 0;
  v.eos = 0;
  return v;
}
std::vector<std::string> pieces(const Tokenizer& t, std::string_view text, bool parse_special = false) {
  std::vector<std::string> out;
  for (const Token id : t.encode(text, false, parse_special)) out.push_back(t.token_text(id));
  return out;
}
using Pieces = std::vector<std::string>;

TEST(GgufVocab, MergesByRankAndDecodesBack) {
  const auto loaded = Tokenizer::load(byte_vocab());
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  const Tokenizer& t = **loaded;
  EXPECT_EQ(pieces(t, "hello hella"), (Pieces{"hello", " ", "hell", "a"}));
  EXPECT_EQ(t.decode(t.encode("hello hella!", true, false), true), "hello hella!");
  EXPECT_EQ(pieces(t, "<|end|>"), (Pieces{"<", "|", "e", "n", "d", "|", ">"}));
  EXPECT_EQ(t.encode("x<|end|>", false, true).back(), 0);
  EXPECT_EQ(t.decode(std::vector<Token>{0, 9999, -5}, false), "<|end|>");
  EXPECT_EQ(t.decode(std::vector<Token>{0}, true), "");
  EXPECT_FALSE(t.adds_bos());
}

TEST(GgufVocab, ScoredPiecesFallBackToBytes) {
  GgufVocab v;
  v.model = "llama";
  v.tokens = {"<unk>", "<s>", "</s>"};
  for (int b = 0; b < 256; ++b) {
    char name[8];
    std::snprintf(name, sizeof name, "<0x%02X>", b);
    v.tokens.push_back(name);
  }
  const std::vector<std::pair<const char*, float>> more = {{"\xE2\x96\x81", -4},
                                                           {"a", -5},
                                                           {"b", -6},
                                                           {"ab", -1},
                                                           {"\xE2\x96\x81"
                                                            "a",
                                                            -2}};
  v.scores.assign(v.tokens.size(), 0);
  v.types.assign(v.tokens.size(), 6);
  v.types[0] = 2;
  v.types[1] = v.types[2] = 3;
  for (const auto& [piece, score] : more) {
    v.tokens.push_back(piece);
    v.scores.push_back(score);
    v.types.push_back(1);
  }
  v.bos = 1;
  v.eos = 2;
  v.unknown = 0;
  const auto loaded = Tokenizer::load(v);
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  const Tokenizer& t = **loaded;
  EXPECT_TRUE(t.adds_bos());
  // "ab" scores better than "▁a", so the space stays alone.
  EXPECT_EQ(pieces(t, "ab a"), (Pieces{"\xE2\x96\x81", "ab",
                                       "\xE2\x96\x81"
                                       "a"}));
  EXPECT_EQ(pieces(t, "\xC3\xA9"), (Pieces{"\xE2\x96\x81", "<0xC3>", "<0xA9>"}));
  for (const char* text : {"ab a", " ab", "\xC3\xA9\xF0\x9F\x98\x80 b", "a  b "}) {
    EXPECT_EQ(t.decode(t.encode(text, true, false), true), text);
  }
}

TEST(GgufVocab, RefusesByName) {
  const auto message = [](const GgufVocab& v) {
    const auto loaded = Tokenizer::load(v);
    return loaded.ok() ? std::string("loaded") : loaded.error().message;
  };
  GgufVocab v = byte_vocab();
  v.pre = "nonesuch";
  EXPECT_NE(message(v).find("'nonesuch'"), std::string::npos);
  v = byte_vocab();
  v.model = "rwkv";
  EXPECT_NE(message(v).find("'rwkv'"), std::string::npos);
  v = byte_vocab();
  v.merges.push_back("zz q");
  EXPECT_NE(message(v).find("zz q"), std::string::npos);
  v = byte_vocab();
  v.eos = 4000;
  EXPECT_NE(message(v).find("4000"), std::string::npos);
  v = byte_vocab();
  v.types.pop_back();
  EXPECT_NE(message(v).find("token types"), std::string::npos);
  EXPECT_NE(message(GgufVocab{}).find("tokens"), std::string::npos);
}

TEST(GgufVocab, CompactFormGivesTheSameTokenizer) {
  const auto loaded = Tokenizer::load(byte_vocab());
  ASSERT_TRUE(loaded.ok());
  const std::string bytes = (*loaded)->to_compact();
  const auto again = load_compact(std::as_bytes(std::span(bytes)));
  ASSERT_TRUE(again.ok()) << again.error().message;
  const std::string text = "hello hell! <|end|> he";
  for (const bool special : {false, true}) {
    EXPECT_EQ((*again)->encode(text, special, special), (*loaded)->encode(text, special, special));
  }
  EXPECT_EQ((*again)->to_compact(), bytes);
  EXPECT_EQ((*again)->bos(), 0);
}

TEST(GgufVocab, CompactFormRefusesEveryChangedByteAndEveryCut) {
  const auto loaded = Tokenizer::load(byte_vocab());
  ASSERT_TRUE(loaded.ok());
  const std::string bytes = (*loaded)->to_compact();
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    std::string changed = bytes;
    changed[i] = static_cast<char>(changed[i] ^ 0x40);
    EXPECT_FALSE(load_compact(std::as_bytes(std::span(changed))).ok()) << "byte " << i;
    EXPECT_FALSE(load_compact(std::as_bytes(std::span(bytes)).first(i)).ok()) << "cut at " << i;
  }
}

TEST(StreamDecoder, GivesWholeCharactersAndTheSameTextInAll) {
  GgufVocab v = byte_vocab();
  for (const char* piece : {"\xC4\x91", "\xC3\xB0", "\xC5\x81", "\xC4\xBA", "\xC4\xA2"}) {  // bytes of U+1F600, and one
    v.tokens.push_back(piece);
    v.types.push_back(1);
  }
  const auto loaded = Tokenizer::load(v);
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  std::vector<Token> ids = (*loaded)->encode("hello ", false, false);
  std::string streamed;
  StreamDecoder stream(*loaded, true);
  ids.push_back(0);
  for (const Token id : ids) streamed += stream.feed(id);
  EXPECT_EQ(streamed, "hello ");
  const Token first = (*loaded)->find("\xF0");
  ASSERT_GE(first, 0);
  EXPECT_EQ(stream.feed(first), "");
  EXPECT_EQ(stream.finish(), "\xEF\xBF\xBD");
}

}  // namespace
}  // namespace sparing
