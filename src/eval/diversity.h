#pragma once
// How varied generated text is: distinct n-grams and repetition.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "eval/logits.h"
#include "eval/statistics.h"
#include "runtime/generate.h"

namespace sparing {

/// Different n-grams over all n-grams of all texts together (distinct-n, arXiv:1510.03055); 0 where there is none.
double distinct(std::span<const std::vector<Token>> texts, std::size_t n);
/// Share of n-grams that the same text has had before; 0 for a text shorter than n.
double repetition(std::span<const Token> text, std::size_t n);

struct Diversity {
  std::int64_t texts = 0, tokens = 0;
  double distinct1 = 0, distinct2 = 0, distinct3 = 0;
  Estimate repetition4;     ///< mean over texts, of 4-grams
  double tokens_per_s = 0;  ///< decoding, after each first token
};
Diversity diversity_of(std::span<const std::vector<Token>> texts);

/// Beginnings to continue: the first `tokens` of each of `count` windows, spread evenly.
std::vector<std::vector<Token>> prompts_from(const Windows& windows, std::int64_t count, std::int64_t tokens);

/// Continues each prompt on sequence 0, text i with the seed options.sampling.seed + i. End tokens do not end a text,
/// so that all are as long. `on_text` after each. Errors: the engine's, an interrupt.
Result<std::vector<std::vector<Token>>> continue_prompts(Engine& engine,
                                                         const std::shared_ptr<const Tokenizer>& tokenizer,
                                                         std::span<const std::vector<Token>> prompts,
                                                         const GenerateOptions& options, double& tokens_per_s,
                                                         const std::function<void()>& on_text = {});

}  // namespace sparing
