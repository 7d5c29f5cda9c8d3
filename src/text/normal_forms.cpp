#include "text/normal_forms.h"

#include <algorithm>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "text/unicode.h"

namespace sparing {
namespace {

struct Decomposition {
  char32_t whole, first, second;
  bool composes;
};
struct ClassRun {
  char32_t first, last;
  std::uint8_t combining_class;
};
constexpr Decomposition kDecompositions[] = {
#define SPARING_DECOMPOSITIONS
#include "text/unicode_decompositions.inc"
#undef SPARING_DECOMPOSITIONS
};
constexpr ClassRun kClasses[] = {
#include "text/unicode_decompositions.inc"
};

// Hangul syllables compose by arithmetic (The Unicode Standard, 3.12).
constexpr char32_t kS = 0xAC00, kL = 0x1100, kV = 0x1161, kT = 0x11A7;
constexpr char32_t kLs = 19, kVs = 21, kTs = 28, kSs = kLs * kVs * kTs;

struct Tables {
  std::unordered_map<char32_t, std::pair<char32_t, char32_t>> parts;
  std::unordered_map<std::uint64_t, char32_t> wholes;
  std::vector<std::uint8_t> combining;  ///< by code point, up to the last that has one
  std::vector<bool> settled;            ///< by code point: it neither changes nor takes part in a change under NFC

  static const Tables& get() {
    static const Tables tables;
    return tables;
  }
  std::uint8_t class_of(char32_t c) const { return c < combining.size() ? combining[c] : 0; }

 private:
  Tables() : combining(std::prev(std::end(kClasses))->last + 1), settled(0x30000, true) {
    for (const ClassRun& r : kClasses) {
      for (char32_t c = r.first; c <= r.last; ++c) {
        combining[c] = r.combining_class;
        unsettle(c);
      }
    }
    for (const Decomposition& d : kDecompositions) {
      parts[d.whole] = {d.first, d.second};
      if (d.composes) {
        wholes[static_cast<std::uint64_t>(d.first) << 32 | d.second] = d.whole;
        unsettle(d.second);
      } else {
        unsettle(d.whole);
      }
    }
    for (char32_t c = kV; c < kV + kVs; ++c) unsettle(c);
    for (char32_t c = kT; c < kT + kTs; ++c) unsettle(c);
  }
  void unsettle(char32_t c) {
    if (c < settled.size()) settled[c] = false;
  }
};

void decompose(char32_t c, std::u32string& out) {
  const Tables& t = Tables::get();
  if (c >= kS && c < kS + kSs) {
    const char32_t s = c - kS;
    out.push_back(kL + s / (kVs * kTs));
    out.push_back(kV + s % (kVs * kTs) / kTs);
    if (s % kTs != 0) out.push_back(kT + s % kTs);
    return;
  }
  const auto it = c < 0xC0 ? t.parts.end() : t.parts.find(c);
  if (it == t.parts.end()) {
    out.push_back(c);
    return;
  }
  decompose(it->second.first, out);  // the table nests a few levels at most
  if (it->second.second != 0) decompose(it->second.second, out);
}

std::u32string decomposed(std::string_view text) {
  const Tables& t = Tables::get();
  std::u32string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) decompose(next_char(text, at), out);
  // Canonical order: each run of marks sorted by class, stably.
  for (std::size_t i = 0; i < out.size();) {
    if (t.class_of(out[i]) == 0) {
      ++i;
      continue;
    }
    std::size_t end = i;
    while (end < out.size() && t.class_of(out[end]) != 0) ++end;
    std::stable_sort(out.begin() + static_cast<std::ptrdiff_t>(i), out.begin() + static_cast<std::ptrdiff_t>(end),
                     [&](char32_t a, char32_t b) { return t.class_of(a) < t.class_of(b); });
    i = end;
  }
  return out;
}

/// The character that two compose to, or 0.
char32_t composed(char32_t a, char32_t b) {
  if (a >= kL && a < kL + kLs && b >= kV && b < kV + kVs) return kS + ((a - kL) * kVs + (b - kV)) * kTs;
  if (a >= kS && a < kS + kSs && (a - kS) % kTs == 0 && b > kT && b < kT + kTs) return a + (b - kT);
  const auto& wholes = Tables::get().wholes;
  const auto it = wholes.find(static_cast<std::uint64_t>(a) << 32 | b);
  return it == wholes.end() ? 0 : it->second;
}

std::string to_utf8(const std::u32string& text) {
  std::string out;
  out.reserve(text.size() * 2);
  for (const char32_t c : text) append_utf8(out, c);
  return out;
}

bool is_settled(std::string_view text) {
  const Tables& t = Tables::get();
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_char(text, at);
    if (c >= 0x300 && (c >= t.settled.size() || !t.settled[c])) return false;
  }
  return true;
}

}  // namespace

std::string to_nfd(std::string_view text) {
  return to_utf8(decomposed(text));
}

std::string to_nfc(std::string_view text) {
  if (is_settled(text)) return std::string(text);
  const Tables& t = Tables::get();
  std::u32string s = decomposed(text);
  std::size_t out = 0, starter = s.size();
  std::uint8_t last = 0;  // class of the last character kept after the starter
  for (const char32_t c : s) {
    const std::uint8_t k = t.class_of(c);
    const bool adjacent = starter != s.size() && starter + 1 == out;
    if (starter != s.size() && (adjacent || last < k)) {
      if (const char32_t whole = composed(s[starter], c)) {
        s[starter] = whole;
        continue;
      }
    }
    if (k == 0) starter = out;
    last = k;
    s[out++] = c;
  }
  s.resize(out);
  return to_utf8(s);
}

}  // namespace sparing
