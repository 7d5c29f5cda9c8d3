#include "text/unicode.h"

#include <array>
#include <vector>

namespace sparing {
namespace {

struct Run {
  char32_t first;
  std::uint8_t classes;
};
constexpr Run kRuns[] = {
#include "text/unicode_classes.inc"
};
// Classes are looked up flat below this; what lies above are ideographs-to-be and private use, found by search.
constexpr char32_t kFlat = 0x34000;

const std::vector<std::uint8_t>& flat_classes() {
  static const std::vector<std::uint8_t> table = [] {
    std::vector<std::uint8_t> t(kFlat, 0);
    for (std::size_t i = 0; i < std::size(kRuns); ++i) {
      const char32_t end = i + 1 < std::size(kRuns) ? kRuns[i + 1].first : kFlat;
      for (char32_t c = kRuns[i].first; c < end && c < kFlat; ++c) t[c] = kRuns[i].classes;
    }
    return t;
  }();
  return table;
}

constexpr bool ascii_in(char32_t c, char32_t first, char32_t last) {
  return c >= first && c <= last;
}
struct ByteAlphabet {
  std::array<char32_t, 256> to{};
  std::array<std::int16_t, 0x144> from{};
  constexpr ByteAlphabet() {
    for (auto& f : from) f = -1;
    char32_t next = 0x100;
    for (unsigned b = 0; b < 256; ++b) {
      const bool printable = ascii_in(b, 0x21, 0x7E) || ascii_in(b, 0xA1, 0xAC) || ascii_in(b, 0xAE, 0xFF);
      to[b] = printable ? b : next++;
      from[to[b]] = static_cast<std::int16_t>(b);
    }
  }
};
constexpr ByteAlphabet kAlphabet;

}  // namespace

static constexpr std::array<std::uint8_t, 128> make_ascii() {
  std::array<std::uint8_t, 128> t{};
  for (unsigned c = 0; c < 128; ++c) {
    if (ascii_in(c, 'a', 'z') || ascii_in(c, 'A', 'Z')) t[c] = kLetter | kRustWord;
    if (ascii_in(c, '0', '9')) t[c] = kNumber | kRustNumber | kRustWord;
    if (ascii_in(c, 9, 13) || c == ' ') t[c] = kSpace;
    if (c == '_') t[c] = kRustWord;
  }
  return t;
}
constinit const std::array<std::uint8_t, 128> kAsciiClass = make_ascii();

std::uint8_t char_class_slow(char32_t c) {
  static const std::uint8_t* const table = flat_classes().data();
  return c < kFlat ? table[c] : 0;
}

void append_utf8(std::string& out, char32_t c) {
  const auto put = [&](char32_t b) { out.push_back(static_cast<char>(static_cast<unsigned char>(b))); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6);
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3F));
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

std::size_t utf8_at(std::string_view text, std::size_t at, std::size_t& bad, bool& cut) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned a = byte(at);
  bad = 1;
  cut = false;
  if (a < 0x80) return 1;
  const std::size_t length = a < 0xC2 ? 0 : a < 0xE0 ? 2 : a < 0xF0 ? 3 : a < 0xF5 ? 4 : 0;
  if (length == 0) return 0;
  // The second byte's range excludes overlong forms, surrogates and what lies beyond U+10FFFF.
  unsigned low = 0x80, high = 0xBF;
  if (a == 0xE0) low = 0xA0;
  if (a == 0xED) high = 0x9F;
  if (a == 0xF0) low = 0x90;
  if (a == 0xF4) high = 0x8F;
  for (std::size_t i = 1; i < length; ++i) {
    if (at + i >= text.size()) {
      cut = true;
      return 0;
    }
    if (byte(at + i) < low || byte(at + i) > high) return 0;
    low = 0x80;
    high = 0xBF;
    bad = i + 1;
  }
  return length;
}

bool is_valid_utf8(std::string_view text) {
  std::size_t bad;
  bool cut;
  for (std::size_t at = 0; at < text.size();) {
    if (static_cast<unsigned char>(text[at]) < 0x80) {
      ++at;
      continue;
    }
    const std::size_t n = utf8_at(text, at, bad, cut);
    if (n == 0) return false;
    at += n;
  }
  return true;
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) {
    std::size_t bad;
    bool cut;
    if (const std::size_t n = utf8_at(text, at, bad, cut)) {
      out.append(text.substr(at, n));
      at += n;
    } else {
      out += "\xEF\xBF\xBD";
      at += bad;
    }
  }
  return out;
}

std::size_t complete_utf8_prefix(std::string_view text) {
  for (std::size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const std::size_t at = text.size() - back;
    if ((static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) continue;
    std::size_t bad;
    bool cut;
    return utf8_at(text, at, bad, cut) == 0 && cut ? at : text.size();
  }
  return text.size();
}

char32_t byte_level_char(std::uint8_t byte) {
  return kAlphabet.to[byte];
}
int byte_level_byte(char32_t c) {
  return c < kAlphabet.from.size() ? kAlphabet.from[c] : -1;
}
std::string bytes_to_byte_level(std::string_view bytes) {
  std::string out;
  for (const char b : bytes) append_utf8(out, kAlphabet.to[static_cast<unsigned char>(b)]);
  return out;
}
bool byte_level_to_bytes(std::string_view text, std::string& out) {
  out.clear();
  for (std::size_t at = 0; at < text.size();) {
    const int b = byte_level_byte(next_char(text, at));
    if (b < 0) return false;
    out.push_back(static_cast<char>(b));
  }
  return true;
}

}  // namespace sparing
