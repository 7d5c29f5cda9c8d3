#pragma once
// The pre-tokenisers of known models, written out by hand: each divides valid UTF-8 into words exactly as its regular
// expression does under Oniguruma.

#include <string_view>

namespace sparing {

/// Takes the words of a text in order.
class WordSink {
 public:
  virtual ~WordSink() = default;
  virtual void word(std::string_view word) = 0;
};

enum class KnownPattern {
  none,
  gpt2,    ///< 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
  llama3,  ///< (?i:'s|...)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
  qwen2,   ///< as llama3, but digits one by one
  smollm,  ///< numbers (Rust's) one by one, then gpt2 on what lies between
};
/// The pattern a regular expression is, letter for letter; none if it is another.
KnownPattern known_pattern(std::string_view regex);
std::string_view regex_of(KnownPattern pattern);  ///< gpt2, llama3, qwen2

void split_words(KnownPattern pattern, std::string_view text, WordSink& sink);

}  // namespace sparing
