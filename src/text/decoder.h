#pragma once
// Joins pieces into text, by the steps of the spec.

#include <optional>
#include <string>
#include <vector>

#include "text/regex.h"
#include "text/tokenizer_spec.h"

namespace sparing {

class Decoder {
 public:
  /// `has_steps` false: pieces are joined by spaces.
  static Result<Decoder> create(const std::vector<DecoderStep>& steps, bool has_steps);
  std::string decode(std::vector<std::string> pieces) const;
  /// Pieces of a byte-level vocabulary are simply joined.
  bool only_joins() const { return only_joins_; }

 private:
  struct Compiled {
    DecoderStep step;
    std::optional<Regex> regex;
  };
  std::vector<Compiled> steps_;
  bool has_steps_ = true, only_joins_ = false;
};

}  // namespace sparing
