#pragma once
// Text from a prompt: one loop for run, chat and serving.

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/engine.h"

namespace sparing {

struct GenerateOptions {
  SamplingOptions sampling;
  std::int64_t max_tokens = 256;
  std::vector<std::string> stop;  ///< the text ends before the first of these
  bool ignore_end = false;        ///< end tokens do not end it (benchmarks)
  std::int64_t draft = 0;         ///< tokens guessed ahead by prompt lookup; the output is the same with and without
};

enum class Finish { end_token, stop_string, length, context, cancelled };
std::string_view name_of(Finish finish);

struct Generation {
  std::string text;
  std::vector<Token> tokens;  ///< an end token included
  Finish finish = Finish::length;
  std::int64_t prompt_tokens = 0, reused_tokens = 0;  ///< reused: already in the sequence's cache
  std::int64_t drafted = 0, accepted = 0;
  double first_token_seconds = 0;  ///< from the call to the first token, prompt included
  double prompt_seconds = 0, decode_seconds = 0;

  double prompt_rate() const;  ///< tokens/s of the part that was not reused
  double decode_rate() const;  ///< tokens/s after the first
};

/// Called with text as it comes, whole characters only. An error ends the generation and is passed on.
using OnText = std::function<Status(std::string_view)>;

/// Continues `prompt` on one sequence. `held` are the tokens in that sequence's cache, kept up to date here: a prompt
/// that begins with them costs only its remainder. Ctrl-C (base/interrupt.h) ends it with Finish::cancelled. Errors: an
/// empty prompt, one that does not fit the context.
Result<Generation> generate(Engine& engine, const std::shared_ptr<const Tokenizer>& tokenizer, std::int32_t sequence,
                            std::vector<Token>& held, std::span<const Token> prompt, const GenerateOptions& options,
                            const OnText& on_text);

}  // namespace sparing
