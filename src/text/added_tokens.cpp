#include "text/added_tokens.h"

#include <algorithm>
#include <map>

#include "text/unicode.h"

namespace sparing {
namespace {

bool is_word(std::string_view text, std::size_t at) {
  return (char_class(next_char(text, at)) & kRustWord) != 0;
}
bool is_space(std::string_view text, std::size_t at) {
  return (char_class(next_char(text, at)) & kSpace) != 0;
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens, const std::vector<std::string>& contents)
    : tokens_(std::move(tokens)) {
  std::vector<std::map<unsigned char, std::uint32_t>> children(1);
  std::vector<std::int32_t> ends(1, -1);
  for (std::size_t t = 0; t < tokens_.size(); ++t) {
    if (contents[t].empty()) continue;
    std::uint32_t node = 0;
    for (const char c : contents[t]) {
      const auto byte = static_cast<unsigned char>(c);
      const auto [it, fresh] = children[node].try_emplace(byte, static_cast<std::uint32_t>(children.size()));
      node = it->second;
      if (fresh) {
        children.emplace_back();
        ends.push_back(-1);
      }
    }
    // Of two tokens with one content, the earlier pattern is reported.
    if (ends[node] < 0) ends[node] = static_cast<std::int32_t>(t);
    starts_[static_cast<unsigned char>(contents[t][0])] = true;
  }
  nodes_.resize(children.size());
  for (std::size_t n = 0; n < children.size(); ++n) {
    nodes_[n] = {static_cast<std::uint32_t>(edges_.size()), static_cast<std::uint32_t>(children[n].size()), ends[n]};
    for (const auto& [byte, node] : children[n]) edges_.push_back({byte, node});
  }
}

std::int32_t AddedTokenMatcher::longest_at(std::string_view text, std::size_t at, std::size_t& end) const {
  std::int32_t best = -1;
  std::uint32_t node = 0;
  for (std::size_t i = at; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const auto first = edges_.begin() + nodes_[node].first_edge, last = first + nodes_[node].edges;
    const auto edge = std::lower_bound(first, last, byte, [](const Edge& e, unsigned char b) { return e.byte < b; });
    if (edge == last || edge->byte != byte) break;
    node = edge->node;
    if (nodes_[node].token >= 0) {
      best = nodes_[node].token;
      end = i + 1;
    }
  }
  return best;
}

void AddedTokenMatcher::split(std::string_view text, bool parse_special, std::vector<Part>& out) const {
  std::size_t plain = 0, at = 0;
  while (!tokens_.empty() && at < text.size()) {
    if (!starts_[static_cast<unsigned char>(text[at])]) {
      ++at;
      continue;
    }
    std::size_t end = 0;
    const std::int32_t found = longest_at(text, at, end);
    if (found < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<std::size_t>(found)];
    std::size_t start = at;
    at = end;  // the search goes on after the match, whatever the options make of it
    if (token.special && !parse_special) continue;
    if (token.single_word &&
        ((start > 0 && is_word(text, previous_start(text, start))) || (end < text.size() && is_word(text, end)))) {
      continue;
    }
    if (token.lstrip) {
      while (start > plain && is_space(text, previous_start(text, start))) start = previous_start(text, start);
    }
    if (token.rstrip) {
      while (end < text.size() && is_space(text, end)) end += char_length(text[end]);
    }
    if (plain < start) out.push_back({-1, text.substr(plain, start - plain)});
    out.push_back({token.id, text.substr(std::min(start, end), end - std::min(start, end))});
    plain = end;
  }
  if (plain < text.size()) out.push_back({-1, text.substr(plain)});
}

}  // namespace sparing
