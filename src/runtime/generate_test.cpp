#include "runtime/generate.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "base/interrupt.h"
#include "runtime/lookup_draft.h"
#include "runtime/stop_strings.h"
#include "runtime/test_model.h"

namespace sparing {
namespace {

/// Ids 0 .. 96 as two digits; 96 ends a text.
class DigitTokenizer : public Tokenizer {
 public:
  explicit DigitTokenizer(Token eos = -1) : eos_(eos) {}
  std::vector<Token> encode(std::string_view, bool, bool) const override { return {}; }
  std::string decode(std::span<const Token> ids, bool) const override {
    std::string text;
    for (const Token id : ids) text += token_text(id);
    return text;
  }
  std::int32_t vocab_size() const override { return 97; }
  Token bos() const override { return -1; }
  Token eos() const override { return eos_; }
  bool adds_bos() const override { return false; }
  std::string token_text(Token id) const override {
    return {static_cast<char>('0' + id / 10), static_cast<char>('0' + id % 10)};
  }
  Token find(std::string_view) const override { return -1; }
  std::string to_compact() const override { return {}; }
  Result<std::string> to_tokenizer_json() const override { return usage_error("[test] no"); }

 private:
  Token eos_;
};

std::unique_ptr<Engine> tiny_engine(EngineOptions options = {}) {
  auto engine = Engine::load(
      std::make_shared<testing::FormulaCheckpoint>(testing::tiny_config(), testing::Coding::int4), options);
  EXPECT_TRUE(engine.ok()) << engine.error().message;
  return std::move(*engine);
}
std::vector<Token> prompt_of(std::size_t count) {
  std::vector<Token> tokens;
  for (const float u : testing::uniform("prompt", count)) tokens.push_back(static_cast<Token>(u * 97));
  return tokens;
}
Generation run(Engine& engine, std::vector<Token>& held, const std::vector<Token>& prompt,
               const GenerateOptions& options, Token eos = -1, const OnText& on_text = {}) {
  auto result = generate(engine, std::make_shared<DigitTokenizer>(eos), 0, held, prompt, options, on_text);
  EXPECT_TRUE(result.ok()) << result.error().message;
  return result.ok() ? std::move(*result) : Generation();
}

class Drafting : public ::testing::TestWithParam<KvType> {};
INSTANTIATE_TEST_SUITE_P(Types, Drafting, ::testing::Values(KvType::f16, KvType::int16, KvType::int4));

TEST_P(Drafting, GivesTheSameTokensAndTheSameCache) {
  // A text that repeats itself, so that guesses are made; they are taken up or rejected as the model goes.
  auto prompt = prompt_of(12);
  const auto once = prompt;
  for (int i = 0; i < 5; ++i) prompt.insert(prompt.end(), once.begin(), once.end());
  for (const float temperature : {0.0f, 1.0f}) {
    GenerateOptions options;
    options.max_tokens = 150;
    options.sampling.temperature = temperature;
    options.sampling.seed = 3;
    auto plain = tiny_engine({.context = 400, .kv = GetParam()}),
         drafting = tiny_engine({.context = 400, .kv = GetParam()});
    std::vector<Token> held, held_drafting;
    const auto want = run(*plain, held, prompt, options);
    options.draft = 8;
    const auto got = run(*drafting, held_drafting, prompt, options);
    EXPECT_EQ(want.tokens, got.tokens);
    EXPECT_EQ(want.text, got.text);
    EXPECT_EQ(held, held_drafting);
    EXPECT_EQ(drafting->length(0), static_cast<std::int64_t>(held_drafting.size()));
    EXPECT_GT(got.drafted, 0);
    EXPECT_EQ(want.drafted, 0);
    std::vector<float> a(97), b(97);
    const std::vector<Token> next = {5};
    ASSERT_TRUE(plain->forward(0, next, a).ok());
    ASSERT_TRUE(drafting->forward(0, next, b).ok());
    EXPECT_EQ(a, b);
  }
}

TEST(Generate, ReusesTheCommonPrefixAndSaysSo) {
  const auto prompt = prompt_of(40);
  GenerateOptions options;
  options.max_tokens = 10;
  auto engine = tiny_engine(), fresh = tiny_engine();
  std::vector<Token> held;
  const auto first = run(*engine, held, prompt, options);
  EXPECT_EQ(first.reused_tokens, 0);
  ASSERT_EQ(first.tokens.size(), 10u);
  // The next turn: prompt and answer, then something new.
  auto next = prompt;
  next.insert(next.end(), first.tokens.begin(), first.tokens.end());
  next.push_back(3);
  const auto second = run(*engine, held, next, options);
  EXPECT_EQ(second.reused_tokens, 49);  // the last sampled token was never put through
  std::vector<Token> nothing;
  EXPECT_EQ(run(*fresh, nothing, next, options).tokens, second.tokens);
  // Another text altogether, and the very same one again.
  auto other = prompt;
  other[20] = (other[20] + 1) % 97;
  EXPECT_EQ(run(*engine, held, other, options).reused_tokens, 20);
  EXPECT_EQ(run(*engine, held, other, options).reused_tokens, 39);
}

TEST(Generate, EndsForEachReason) {
  const auto prompt = prompt_of(20);
  auto engine = tiny_engine({.context = 40});
  GenerateOptions options;
  options.max_tokens = 12;
  std::vector<Token> held;
  const auto full = run(*engine, held, prompt, options);
  EXPECT_EQ(full.finish, Finish::length);
  ASSERT_EQ(full.tokens.size(), 12u);
  EXPECT_EQ(full.text.size(), 24u);

  // The first token that is new at its place, as end token.
  const Token end = full.tokens[4];
  const auto at = std::find(full.tokens.begin(), full.tokens.end(), end) - full.tokens.begin();
  const auto ended = run(*engine, held, prompt, options, end);
  EXPECT_EQ(ended.finish, Finish::end_token);
  EXPECT_EQ(ended.tokens.size(), static_cast<std::size_t>(at) + 1);
  EXPECT_EQ(ended.text, full.text.substr(0, static_cast<std::size_t>(at) * 2));
  options.ignore_end = true;
  EXPECT_EQ(run(*engine, held, prompt, options, end).tokens, full.tokens);

  // A stop string across two tokens: the text ends before it, and what streams never shows part of it.
  options.stop = {"never there", full.text.substr(5, 4)};
  std::string streamed;
  const auto stopped = run(*engine, held, prompt, options, -1, [&](std::string_view text) {
    streamed += text;
    return Status();
  });
  EXPECT_EQ(stopped.finish, Finish::stop_string);
  EXPECT_EQ(stopped.text, full.text.substr(0, full.text.find(options.stop[1])));
  EXPECT_EQ(streamed, stopped.text);

  options.stop.clear();
  options.max_tokens = 100;
  const auto all = run(*engine, held, prompt, options);
  EXPECT_EQ(all.finish, Finish::context);
  EXPECT_EQ(all.tokens.size(), 21u);  // the last needs no place
  options.draft = 8;
  EXPECT_EQ(run(*engine, held, prompt, options).tokens, all.tokens);

  request_interrupt();
  EXPECT_EQ(run(*engine, held, prompt, options).finish, Finish::cancelled);
  clear_interrupt();
  EXPECT_EQ(engine->length(0), static_cast<std::int64_t>(held.size()));
}

TEST(Generate, RefusesEmptyAndOverlongPrompts) {
  auto engine = tiny_engine({.context = 10});
  std::vector<Token> held;
  const auto tokenizer = std::make_shared<DigitTokenizer>();
  EXPECT_FALSE(generate(*engine, tokenizer, 0, held, {}, {}, {}).ok());
  const auto prompt = prompt_of(11);
  const auto long_one = generate(*engine, tokenizer, 0, held, prompt, {}, {});
  ASSERT_FALSE(long_one.ok());
  EXPECT_NE(long_one.error().message.find("11 tokens"), std::string::npos);
  EXPECT_EQ(engine->length(0), 0);
}

TEST(LookupDraft, ContinuesTheLatestOccurrenceOfTheLongestSuffix) {
  using Tokens = std::vector<Token>;
  EXPECT_EQ(lookup_draft(Tokens{1, 2, 3, 4, 1, 2}, 8), (Tokens{3, 4, 1, 2}));
  EXPECT_EQ(lookup_draft(Tokens{1, 2, 3, 4, 1, 2}, 1), (Tokens{3}));
  EXPECT_EQ(lookup_draft(Tokens{1, 2, 3, 1, 2, 9, 5, 1, 2}, 2), (Tokens{9, 5}));     // latest
  EXPECT_EQ(lookup_draft(Tokens{7, 1, 2, 3, 8, 1, 2, 9, 7, 1, 2}, 1), (Tokens{3}));  // longest
  EXPECT_EQ(lookup_draft(Tokens{5, 5, 5}, 4), (Tokens{5}));                          // overlapping
  EXPECT_TRUE(lookup_draft(Tokens{1, 2, 3, 4, 3}, 8).empty());                       // one token is not enough
  EXPECT_TRUE(lookup_draft(Tokens{1, 2, 1, 2}, 0).empty());
  EXPECT_TRUE(lookup_draft(Tokens{1}, 4).empty());
  EXPECT_TRUE(lookup_draft(Tokens{}, 4).empty());
}

TEST(StopStrings, HoldsBackWhatCouldBecomeOne) {
  StopStrings stops({"", "</s>", "stop"});
  EXPECT_EQ(stops.feed("a<"), "a");
  EXPECT_EQ(stops.feed("/"), "");
  EXPECT_EQ(stops.feed("x st"), "</x ");
  EXPECT_EQ(stops.feed("o"), "");
  EXPECT_EQ(stops.feed("p it"), "");
  EXPECT_TRUE(stops.found());
  EXPECT_EQ(stops.feed("more"), "");
  StopStrings open({"abc"});
  EXPECT_EQ(open.feed("xab"), "x");
  EXPECT_EQ(open.finish(), "ab");
  StopStrings both({"ghi", "efghi"});
  EXPECT_EQ(both.feed("abcdefghij"), "abcd");
}

}  // namespace
}  // namespace sparing
