#pragma once
// Rewrites a text before it is divided into words, by the steps of the spec.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/regex.h"
#include "text/tokenizer_spec.h"

namespace sparing {

class Normalizer {
 public:
  static Result<Normalizer> create(const std::vector<NormalizerStep>& steps);
  bool empty() const { return steps_.empty(); }
  std::string apply(std::string_view text) const;

 private:
  struct Compiled {
    NormalizerStep step;
    std::optional<Regex> regex;
  };
  std::vector<Compiled> steps_;
};

/// `text` with every match of `pattern` (compiled in `regex` if it is one) replaced by `with`.
std::string replace_all(std::string_view text, const TextPattern& pattern, const std::optional<Regex>& regex,
                        std::string_view with);

}  // namespace sparing
