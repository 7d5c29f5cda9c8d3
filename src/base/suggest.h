#pragma once
// What a mistyped name was probably meant to be.

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sparing {

/// Insertions, deletions, substitutions and swaps of neighbours that turn one word into the other (optimal string
/// alignment).
inline int edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<int>> d(a.size() + 1, std::vector<int>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i)
    for (std::size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        d[i][j] = static_cast<int>(i + j);
        continue;
      }
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  return d[a.size()][b.size()];
}

/// End of a message about an unknown name: ": did you mean 'gptq'?" or ": known are a, b, c".
inline std::string suggest(std::string_view word, std::span<const std::string_view> known) {
  std::string_view best;
  int least = static_cast<int>(std::max<std::size_t>(1, word.size() / 3)) + 1;
  std::string all;
  for (const std::string_view name : known) {
    all += (all.empty() ? "" : ", ") + std::string(name);
    // What somebody stopped typing counts as one mistake.
    const bool begun = word.size() > 2 && name.starts_with(word);
    if (const int d = begun ? 1 : edit_distance(word, name); d < least) least = d, best = name;
  }
  return best.empty() ? ": known are " + all : ": did you mean '" + std::string(best) + "'? (known are " + all + ")";
}

}  // namespace sparing
