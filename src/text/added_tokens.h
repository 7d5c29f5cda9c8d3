#pragma once
// Finds added and special tokens in a text: leftmost, longest first, with the options of tokenizer.json.

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "text/tokenizer_spec.h"

namespace sparing {

class AddedTokenMatcher {
 public:
  struct Part {
    Token id;  ///< -1: plain text
    std::string_view text;
  };
  /// `contents[i]` is what to look for in place of `tokens[i].content` (which a normalizer may have changed).
  AddedTokenMatcher(std::vector<AddedToken> tokens, const std::vector<std::string>& contents);
  bool empty() const { return tokens_.empty(); }
  /// Divides `text`. Tokens that are special are passed over unless `parse_special`.
  void split(std::string_view text, bool parse_special, std::vector<Part>& out) const;

 private:
  struct Node {
    std::uint32_t first_edge = 0, edges = 0;
    std::int32_t token = -1;  ///< index into tokens_
  };
  struct Edge {
    unsigned char byte;
    std::uint32_t node;
  };
  /// The longest token that begins at `at`: its index, or -1, and its end.
  std::int32_t longest_at(std::string_view text, std::size_t at, std::size_t& end) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_;
  std::vector<Edge> edges_;
  std::array<bool, 256> starts_{};
};

}  // namespace sparing
