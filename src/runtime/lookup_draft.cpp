#include "runtime/lookup_draft.h"

#include <algorithm>

namespace sparing {

std::vector<Token> lookup_draft(std::span<const Token> text, std::int64_t most) {
  constexpr std::size_t kLongest = 4, kShortest = 2;
  if (most <= 0) return {};
  for (std::size_t n = std::min(kLongest, text.size() - std::min<std::size_t>(text.size(), 1)); n >= kShortest; --n) {
    const auto suffix = text.last(n);
    // The latest occurrence that ends before the text's end.
    for (std::size_t start = text.size() - n; start-- > 0;) {
      if (!std::equal(suffix.begin(), suffix.end(), text.begin() + static_cast<std::ptrdiff_t>(start))) continue;
      const auto after = text.subspan(start + n);
      const auto count = std::min(after.size(), static_cast<std::size_t>(most));
      return {after.begin(), after.begin() + static_cast<std::ptrdiff_t>(count)};
    }
  }
  return {};
}

}  // namespace sparing
