#pragma once
// UTF-8 and the character classes of the tokenizers' regular expressions.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace sparing {

/// Classes of a code point. `letter`, `number` and `space` are \p{L}, \p{N} and \s as Oniguruma has them; `rust_number`
/// and `rust_word` are char::is_numeric and \w as Rust has them (a newer Unicode).
enum CharClass : std::uint8_t {
  kLetter = 1,
  kNumber = 2,
  kSpace = 4,
  kRustNumber = 8,
  kRustWord = 16,
};
std::uint8_t char_class_slow(char32_t c);
extern const std::array<std::uint8_t, 128> kAsciiClass;
inline std::uint8_t char_class(char32_t c) {
  return c < 128 ? kAsciiClass[c] : char_class_slow(c);
}

/// The code point at `at` of *valid* UTF-8; `at` moves past it.
inline char32_t next_char(std::string_view text, std::size_t& at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const char32_t a = byte(at);
  if (a < 0x80) {
    at += 1;
    return a;
  }
  if (a < 0xE0) {
    const char32_t c = (a & 0x1F) << 6 | (byte(at + 1) & 0x3Fu);
    at += 2;
    return c;
  }
  if (a < 0xF0) {
    const char32_t c = (a & 0xF) << 12 | (byte(at + 1) & 0x3Fu) << 6 | (byte(at + 2) & 0x3Fu);
    at += 3;
    return c;
  }
  const char32_t c =
      (a & 7) << 18 | (byte(at + 1) & 0x3Fu) << 12 | (byte(at + 2) & 0x3Fu) << 6 | (byte(at + 3) & 0x3Fu);
  at += 4;
  return c;
}
/// Bytes of the character that begins with this byte of valid UTF-8.
inline std::size_t char_length(char first) {
  const auto b = static_cast<unsigned char>(first);
  return b < 0x80 ? 1 : b < 0xE0 ? 2 : b < 0xF0 ? 3 : 4;
}
/// Where the character before `at` (> 0) of valid UTF-8 begins.
inline std::size_t previous_start(std::string_view text, std::size_t at) {
  do --at;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
  return at;
}
void append_utf8(std::string& out, char32_t c);

/// Bytes of the well-formed character at `at`; 0 where there is none, and then `bad` is the length of the maximal
/// ill-formed part (Unicode 3.9, table 3-8), and `cut` says that it is a beginning that the end of the text cut off.
std::size_t utf8_at(std::string_view text, std::size_t at, std::size_t& bad, bool& cut);
bool is_valid_utf8(std::string_view text);
/// `text` with each maximal ill-formed part replaced by U+FFFD, as Python's errors='replace'.
std::string replace_invalid_utf8(std::string_view text);
/// Length of the longest prefix that does not end inside a character that more bytes could complete.
std::size_t complete_utf8_prefix(std::string_view text);

/// The GPT-2 alphabet, in which byte-level vocabularies are written
/// (each byte is one printable character).
char32_t byte_level_char(std::uint8_t byte);
/// The byte behind a character of that alphabet, or -1.
int byte_level_byte(char32_t c);
std::string bytes_to_byte_level(std::string_view bytes);
/// False (and `out` in an unspecified state) if a character lies outside the alphabet.
bool byte_level_to_bytes(std::string_view text, std::string& out);

}  // namespace sparing
