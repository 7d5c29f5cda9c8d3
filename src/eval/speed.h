#pragma once
// How fast an engine is: prompt, first token, decode.

#include <cstdint>
#include <span>

#include "runtime/engine.h"

namespace sparing {

struct Speed {
  std::int64_t prompt_tokens = 0, decode_tokens = 0;  ///< decode_tokens: of all sequences together
  double prompt_seconds = 0, decode_seconds = 0;

  double prompt_rate() const { return prompt_seconds > 0 ? static_cast<double>(prompt_tokens) / prompt_seconds : 0; }
  double decode_rate() const { return decode_seconds > 0 ? static_cast<double>(decode_tokens) / decode_seconds : 0; }
};

/// Fills sequences 0 .. batch-1 with the prompt (timed on the first, logits of its last token included), then decodes
/// `decode` tokens greedily in each, all sequences together in one pass a token. What the sequences held is forgotten.
Result<Speed> measure_speed(Engine& engine, std::span<const Token> prompt, std::int64_t decode, std::int32_t batch = 1);

/// `n` ids spread over the vocabulary, the same every time.
std::vector<Token> arbitrary_tokens(std::int64_t n, std::int32_t vocab, std::uint64_t seed = 0);

}  // namespace sparing
