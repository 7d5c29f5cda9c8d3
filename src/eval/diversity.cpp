#include "eval/diversity.h"

#include <algorithm>
#include <set>

#include "base/interrupt.h"

namespace sparing {
namespace {

using Gram = std::vector<Token>;

Gram gram_at(std::span<const Token> text, std::size_t at, std::size_t n) {
  const auto part = text.subspan(at, n);
  return {part.begin(), part.end()};
}

}  // namespace

double distinct(std::span<const std::vector<Token>> texts, std::size_t n) {
  std::set<Gram> seen;
  std::size_t all = 0;
  for (const std::vector<Token>& text : texts) {
    for (std::size_t at = 0; at + n <= text.size(); ++at, ++all) seen.insert(gram_at(text, at, n));
  }
  return all > 0 ? static_cast<double>(seen.size()) / static_cast<double>(all) : 0;
}

double repetition(std::span<const Token> text, std::size_t n) {
  if (text.size() < n) return 0;
  std::set<Gram> seen;
  for (std::size_t at = 0; at + n <= text.size(); ++at) seen.insert(gram_at(text, at, n));
  return 1 - static_cast<double>(seen.size()) / static_cast<double>(text.size() - n + 1);
}

Diversity diversity_of(std::span<const std::vector<Token>> texts) {
  Diversity d;
  std::vector<double> repeated;
  for (const std::vector<Token>& text : texts) {
    d.tokens += static_cast<std::int64_t>(text.size());
    repeated.push_back(repetition(text, 4));
  }
  d.texts = static_cast<std::int64_t>(texts.size());
  d.distinct1 = distinct(texts, 1);
  d.distinct2 = distinct(texts, 2);
  d.distinct3 = distinct(texts, 3);
  d.repetition4 = mean_of(repeated);
  return d;
}

std::vector<std::vector<Token>> prompts_from(const Windows& windows, std::int64_t count, std::int64_t tokens) {
  count = std::min(count, windows.count);
  tokens = std::min(tokens, windows.context);
  std::vector<std::vector<Token>> prompts;
  for (std::int64_t i = 0; i < count; ++i) {
    std::vector<Token> prompt = windows.window(i * windows.count / count);
    prompt.resize(static_cast<std::size_t>(tokens));
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

Result<std::vector<std::vector<Token>>> continue_prompts(Engine& engine,
                                                         const std::shared_ptr<const Tokenizer>& tokenizer,
                                                         std::span<const std::vector<Token>> prompts,
                                                         const GenerateOptions& options, double& tokens_per_s,
                                                         const std::function<void()>& on_text) {
  std::vector<std::vector<Token>> texts;
  std::vector<Token> held;
  engine.truncate(0, 0);
  double seconds = 0, decoded = 0;
  for (const std::vector<Token>& prompt : prompts) {
    GenerateOptions one = options;
    one.ignore_end = true;
    one.sampling.seed += texts.size();
    SPARING_TRY(Generation generation, generate(engine, tokenizer, 0, held, prompt, one, {}));
    if (generation.finish == Finish::cancelled) return interrupted_error("eval");
    seconds += generation.decode_seconds;
    decoded += std::max(0.0, static_cast<double>(generation.tokens.size()) - 1);
    texts.push_back(std::move(generation.tokens));
    if (on_text) on_text();
  }
  tokens_per_s = seconds > 0 ? decoded / seconds : 0;
  return texts;
}

}  // namespace sparing
