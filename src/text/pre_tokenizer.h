#pragma once
// Divides a normalized text into words, by the steps of the spec.

#include <string_view>
#include <vector>

#include "text/regex.h"
#include "text/tokenizer_spec.h"
#include "text/word_splitters.h"

namespace sparing {

class PreTokenizer {
 public:
  static Result<PreTokenizer> create(const std::vector<PreTokenizerStep>& steps);
  /// `first`: the text begins the input (Metaspace's "first" asks).
  void split(std::string_view text, bool first, WordSink& sink) const;

 private:
  struct Compiled {
    PreTokenizerStep step;
    KnownPattern known = KnownPattern::none;
    std::optional<Regex> regex;
  };
  void run(std::size_t i, std::string_view text, bool first, WordSink& sink) const;
  friend class NextStep;

  KnownPattern whole_ = KnownPattern::none;  ///< the steps together are this pattern
  std::vector<Compiled> steps_;
};

}  // namespace sparing
