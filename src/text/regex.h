#pragma once
// Regular expressions from tokenizer files, which are hostile input: PCRE2 with limits on time, depth and memory.

#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace sparing {

class Regex {
 public:
  /// Compiles a pattern written for Oniguruma (Ruby syntax). What PCRE2 would silently read otherwise (set operations
  /// within a class) is refused.
  static Result<Regex> compile(std::string_view pattern);
  /// All matches in valid UTF-8, in order, as [begin, end). A match that exceeds the limits ends the list.
  std::vector<std::pair<std::size_t, std::size_t>> find_all(std::string_view text) const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace sparing
