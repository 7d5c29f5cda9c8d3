#include "text/word_splitters.h"

#include "text/unicode.h"

namespace sparing {
namespace {

constexpr std::string_view kGpt2 = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

class Scanner {
 public:
  Scanner(std::string_view text) : text_(text) {}

  bool at_end(std::size_t at) const { return at >= text_.size(); }
  std::uint8_t class_at(std::size_t at) const {
    const auto b = static_cast<unsigned char>(text_[at]);
    return b < 0x80 ? kAsciiClass[b] : char_class_slow(next_char(text_, at));
  }
  std::size_t after(std::size_t at) const { return at + char_length(text_[at]); }
  /// End of the run of characters whose classes, masked, equal `wanted`.
  std::size_t run(std::size_t at, std::uint8_t mask, std::uint8_t wanted) const {
    while (!at_end(at) && (class_at(at) & mask) == wanted) at = after(at);
    return at;
  }
  std::size_t letters(std::size_t at) const { return run(at, kLetter, kLetter); }
  std::size_t numbers(std::size_t at) const { return run(at, kNumber, kNumber); }
  std::size_t others(std::size_t at) const { return run(at, kSpace | kLetter | kNumber, 0); }
  std::size_t spaces(std::size_t at) const { return run(at, kSpace, kSpace); }

  /// End of a contraction ('s 't 're 've 'm 'll 'd) at an apostrophe, or 0. Ignoring case, U+017F counts as s.
  std::size_t contraction(std::size_t at, bool any_case) const {
    const std::string_view rest = text_.substr(at + 1, 2);
    if (rest.empty()) return 0;
    const auto lower = [&](char c) { return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
    const char a = lower(rest[0]);
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return at + 2;
    if (any_case && rest == "\xC5\xBF") return at + 3;
    if (rest.size() < 2) return 0;
    const char b = lower(rest[1]);
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? at + 3 : 0;
  }
  /// \s+(?!\S)|\s+ : all of a run at the end of the text, else all but its last character, which begins what follows.
  std::size_t blank(std::size_t at) const {
    const std::size_t end = spaces(at);
    if (at_end(end)) return end;
    const std::size_t last = previous_start(text_, end);
    return last > at ? last : end;
  }

  std::size_t gpt2(std::size_t at) const {
    if (text_[at] == '\'') {
      if (const std::size_t end = contraction(at, false)) return end;
    }
    const std::size_t start = text_[at] == ' ' && !at_end(at + 1) ? at + 1 : at;
    const std::uint8_t c = class_at(start);
    if (c & kLetter) return letters(start);
    if (c & kNumber) return numbers(start);
    if (!(c & kSpace)) return others(start);
    return blank(at);
  }

  /// `digits`: how many of a number make a word.
  std::size_t llama3(std::size_t at, int digits) const {
    if (text_[at] == '\'') {
      if (const std::size_t end = contraction(at, true)) return end;
    }
    const std::uint8_t c = class_at(at);
    if (c & kLetter) return letters(at);
    if (c & kNumber) {
      for (int i = 0; i < digits && !at_end(at) && class_at(at) & kNumber; ++i) at = after(at);
      return at;
    }
    const std::size_t next = after(at);
    if (text_[at] != '\r' && text_[at] != '\n' && !at_end(next) && class_at(next) & kLetter) return letters(next);
    const std::size_t start = text_[at] == ' ' && !at_end(at + 1) ? at + 1 : at;
    if (!(class_at(start) & (kSpace | kLetter | kNumber))) {
      std::size_t end = others(start);
      while (!at_end(end) && (text_[end] == '\r' || text_[end] == '\n')) ++end;
      return end;
    }
    const std::size_t run = spaces(at);
    for (std::size_t end = run; end > at; --end) {
      if (text_[end - 1] == '\r' || text_[end - 1] == '\n') return end;
    }
    return blank(at);
  }

 private:
  std::string_view text_;
};

void split_gpt2(std::string_view text, WordSink& sink) {
  const Scanner scan(text);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = scan.gpt2(at);
    sink.word(text.substr(at, end - at));
    at = end;
  }
}

void split_llama3(std::string_view text, int digits, WordSink& sink) {
  const Scanner scan(text);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = scan.llama3(at, digits);
    sink.word(text.substr(at, end - at));
    at = end;
  }
}

void split_smollm(std::string_view text, WordSink& sink) {
  const Scanner scan(text);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = scan.run(at, kRustNumber, 0);
    if (end > at) split_gpt2(text.substr(at, end - at), sink);
    at = end;
    if (!scan.at_end(at)) {
      sink.word(text.substr(at, char_length(text[at])));
      at = scan.after(at);
    }
  }
}

}  // namespace

KnownPattern known_pattern(std::string_view regex) {
  if (regex == kGpt2) return KnownPattern::gpt2;
  if (regex == kLlama3) return KnownPattern::llama3;
  if (regex == kQwen2) return KnownPattern::qwen2;
  return KnownPattern::none;
}

std::string_view regex_of(KnownPattern pattern) {
  switch (pattern) {
    case KnownPattern::gpt2:
      return kGpt2;
    case KnownPattern::llama3:
      return kLlama3;
    case KnownPattern::qwen2:
      return kQwen2;
    default:
      return {};
  }
}

void split_words(KnownPattern pattern, std::string_view text, WordSink& sink) {
  switch (pattern) {
    case KnownPattern::gpt2:
      return split_gpt2(text, sink);
    case KnownPattern::llama3:
      return split_llama3(text, 3, sink);
    case KnownPattern::qwen2:
      return split_llama3(text, 1, sink);
    case KnownPattern::smollm:
      return split_smollm(text, sink);
    case KnownPattern::none:
      break;
  }
  if (!text.empty()) sink.word(text);
}

}  // namespace sparing
