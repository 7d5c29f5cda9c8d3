#include "text/jinja/lexer.h"

#include <algorithm>
#include <array>

#include "text/jinja/value.h"
#include "text/unicode.h"

namespace sparing::jinja {
namespace {

using Kind = TemplateToken::Kind;

bool is_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r') || (c >= '\x1c' && c <= '\x1f');
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_name_start(char c) {
  return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

std::string normalize_newlines(std::string_view source) {
  std::string out;
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      out += source[i];
    }
  }
  if (out.ends_with('\n')) out.pop_back();  // keep_trailing_newline is off
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  std::vector<TemplateToken> run() {
    while (at_ < source_.size()) {
      const std::size_t open = next_tag();
      if (open == std::string::npos) {
        put(Kind::data, source_.substr(at_));
        at_ = source_.size();
        break;
      }
      tag(open);
    }
    put(Kind::end, "");
    return std::move(tokens_);
  }

 private:
  std::size_t next_tag() const {
    for (std::size_t i = source_.find('{', at_); i != std::string::npos; i = source_.find('{', i + 1)) {
      if (i + 1 < source_.size() && (source_[i + 1] == '{' || source_[i + 1] == '%' || source_[i + 1] == '#')) return i;
    }
    return std::string::npos;
  }
  bool starts(std::string_view what) const { return std::string_view(source_).substr(at_).starts_with(what); }
  void put(Kind kind, std::string text) {
    if (kind == Kind::data && text.empty()) return;
    tokens_.push_back({kind, std::move(text), line_});
  }
  void advance(std::size_t to) {
    line_ += static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         source_.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
    at_ = to;
  }
  [[noreturn]] void error(const std::string& what) const { fail(what + ", line " + std::to_string(line_)); }

  /// The text before a tag, less what the tag's sign or lstrip_blocks takes.
  void data_before(std::size_t open, char sign, bool variable) {
    std::string text = source_.substr(at_, open - at_);
    if (sign == '-') {
      while (!text.empty() && ends_in_space(text)) text.resize(previous_start(text, text.size()));
    } else if (sign != '+' && !variable) {
      const std::size_t line = text.rfind('\n') + 1;  // 0 where there is none
      if ((line > 0 || line_starting_) && line < text.size() &&
          std::all_of(text.begin() + static_cast<std::ptrdiff_t>(line), text.end(), is_space)) {
        text.resize(line);
      }
    }
    put(Kind::data, std::move(text));
  }
  static bool ends_in_space(std::string_view text) {
    std::size_t at = previous_start(text, text.size());
    return is_space(text[at]) || (char_class(next_char(text, at)) & kSpace) != 0;
  }
  /// Past a closing tag that ends at `to`, and what `sign` or trim_blocks takes after it.
  void close(std::size_t to, char sign, bool block) {
    if (sign == '-') {
      while (to < source_.size() && space_at(to)) to += char_length(source_[to]);
    } else if (block && sign != '+' && to < source_.size() && source_[to] == '\n') {
      ++to;
    }
    advance(to);
    line_starting_ = to > 0 && source_[to - 1] == '\n';
  }
  bool space_at(std::size_t at) const {
    return is_space(source_[at]) || (char_class(next_char(source_, at)) & kSpace) != 0;
  }

  void tag(std::size_t open) {
    const char kind = source_[open + 1];
    const char sign = open + 2 < source_.size() ? source_[open + 2] : '\0';
    const bool signed_tag = sign == '-' || sign == '+';
    data_before(open, sign, kind == '{');
    advance(open + 2 + (signed_tag ? 1 : 0));
    if (kind == '#') {
      const std::size_t end = source_.find("#}", at_);
      if (end == std::string::npos) error("a comment without end");
      const char before = end > at_ ? source_[end - 1] : '\0';
      close(end + 2, before, true);
    } else if (kind == '%' && raw()) {
      return;
    } else {
      put(kind == '{' ? Kind::variable_begin : Kind::block_begin, "");
      expression_tokens(kind == '{');
    }
  }

  /// {% raw %} ... {% endraw %}
  bool raw() {
    std::size_t i = at_;
    while (i < source_.size() && is_space(source_[i])) ++i;
    if (source_.compare(i, 3, "raw") != 0) return false;
    i += 3;
    while (i < source_.size() && is_space(source_[i])) ++i;
    const char sign = i < source_.size() ? source_[i] : '\0';
    if (sign == '-' || sign == '+') ++i;
    if (source_.compare(i, 2, "%}") != 0) return false;
    close(i + 2, sign, true);
    for (std::size_t open = source_.find("{%", at_); open != std::string::npos; open = source_.find("{%", open + 2)) {
      std::size_t j = open + 2;
      const char open_sign = j < source_.size() ? source_[j] : '\0';
      if (open_sign == '-' || open_sign == '+') ++j;
      while (j < source_.size() && is_space(source_[j])) ++j;
      if (source_.compare(j, 6, "endraw") != 0) continue;
      j += 6;
      while (j < source_.size() && is_space(source_[j])) ++j;
      const char close_sign = j < source_.size() ? source_[j] : '\0';
      if (close_sign == '-' || close_sign == '+') ++j;
      if (source_.compare(j, 2, "%}") != 0) continue;
      data_before(open, open_sign, false);
      close(j + 2, close_sign, true);
      return true;
    }
    error("raw without endraw");
  }

  void expression_tokens(bool variable) {
    const std::string_view end = variable ? "}}" : "%}";
    int depth = 0;
    while (true) {
      while (at_ < source_.size() && is_space(source_[at_])) advance(at_ + 1);
      if (at_ >= source_.size()) error("a tag without end");
      if (depth == 0) {
        const bool sign = source_[at_] == '-' || (source_[at_] == '+' && !variable);
        if (std::string_view(source_).substr(at_ + (sign ? 1 : 0)).starts_with(end)) {
          put(variable ? Kind::variable_end : Kind::block_end, "");
          close(at_ + (sign ? 3 : 2), sign ? source_[at_] : '\0', !variable);
          return;
        }
      }
      const char c = source_[at_];
      if (is_name_start(c)) {
        std::size_t i = at_;
        while (i < source_.size() && (is_name_start(source_[i]) || is_digit(source_[i]))) ++i;
        put(Kind::name, source_.substr(at_, i - at_));
        advance(i);
      } else if (is_digit(c)) {
        number();
      } else if (c == '"' || c == '\'') {
        string(c);
      } else {
        symbol(depth);
      }
    }
  }

  void number() {
    std::size_t i = at_;
    bool real = false;
    const auto digits = [&] {
      while (i < source_.size() && (is_digit(source_[i]) || source_[i] == '_')) ++i;
    };
    digits();
    if (i + 1 < source_.size() && source_[i] == '.' && is_digit(source_[i + 1])) {
      real = true;
      ++i;
      digits();
    }
    if (i < source_.size() && (source_[i] == 'e' || source_[i] == 'E')) {
      std::size_t j = i + 1;
      if (j < source_.size() && (source_[j] == '+' || source_[j] == '-')) ++j;
      if (j < source_.size() && is_digit(source_[j])) {
        real = true;
        i = j;
        digits();
      }
    }
    if (i < source_.size() && is_name_start(source_[i])) error("number '" + source_.substr(at_, i + 1 - at_) + "'");
    std::string text = source_.substr(at_, i - at_);
    std::erase(text, '_');
    put(real ? Kind::real : Kind::integer, std::move(text));
    advance(i);
  }

  void string(char quote) {
    std::string out;
    std::size_t i = at_ + 1;
    for (; i < source_.size() && source_[i] != quote; ++i) {
      if (source_[i] != '\\') {
        out += source_[i];
        continue;
      }
      if (++i >= source_.size()) break;
      escape(i, out);
    }
    if (i >= source_.size()) error("a string without end");
    put(Kind::string, std::move(out));
    advance(i + 1);
  }

  /// One Python escape; `i` is at the character after the backslash and ends at the escape's last.
  void escape(std::size_t& i, std::string& out) const {
    constexpr std::string_view from = "ntrabfv\\'\"0", to("\n\t\r\a\b\f\v\\'\"\0", 11);
    const char c = source_[i];
    const int digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (c == '\n') return;
    if (digits > 0) {
      char32_t value = 0;
      for (int k = 0; k < digits; ++k) {
        const char h = i + 1 < source_.size() ? source_[++i] : '\0';
        const bool lower = h >= 'a' && h <= 'f', upper = h >= 'A' && h <= 'F';
        if (!is_digit(h) && !lower && !upper) error("an escape of too few digits");
        value = value * 16 + static_cast<char32_t>(is_digit(h) ? h - '0' : (h | 32) - 'a' + 10);
      }
      if (value > 0x10FFFF || (value >= 0xD800 && value < 0xE000)) error("an escape that is no character");
      append_utf8(out, value);
    } else if (const std::size_t k = from.find(c); k != std::string_view::npos) {
      out += to[k];
    } else {
      out += '\\';
      out += c;
    }
  }

  void symbol(int& depth) {
    constexpr std::array<std::string_view, 24> symbols = {"//", "**", "==", "!=", ">=", "<=", "+", "-",
                                                          "/",  "*",  "%",  "~",  "[",  "]",  "(", ")",
                                                          "{",  "}",  ">",  "<",  "=",  ".",  ":", "|"};
    std::string_view found;
    for (const std::string_view s : symbols) {
      if (starts(s)) {
        found = s;
        break;
      }
    }
    if (found.empty() && source_[at_] == ',') found = ",";
    if (found.empty()) error("unexpected character '" + source_.substr(at_, char_length(source_[at_])) + "'");
    if (found == "(" || found == "[" || found == "{") ++depth;
    if ((found == ")" || found == "]" || found == "}") && --depth < 0) error("unexpected '" + std::string(found) + "'");
    put(Kind::symbol, std::string(found));
    advance(at_ + found.size());
  }

  std::string source_;
  std::size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<TemplateToken> tokens_;
};

}  // namespace

std::vector<TemplateToken> lex(std::string_view source) {
  return Lexer(normalize_newlines(source)).run();
}

}  // namespace sparing::jinja
