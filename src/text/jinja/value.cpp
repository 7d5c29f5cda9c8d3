#include "text/jinja/value.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/unicode.h"

namespace sparing::jinja {
namespace {

constexpr int kDeepest = 100;

void check_depth(int depth) {
  if (depth > kDeepest) fail("values nested deeper than 100");
}

/// repr(float): shortest digits that read back, with an exponent outside 1e-4 ... 1e16.
std::string float_text(double d, bool json) {
  if (std::isnan(d)) return json ? "NaN" : "nan";
  if (std::isinf(d)) return std::string(d < 0 ? "-" : "") + (json ? "Infinity" : "inf");
  char buffer[512];
  const double size = std::fabs(d);
  const bool plain = d == 0 || (size >= 1e-4 && size < 1e16);
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, d, plain ? std::chars_format::fixed : std::chars_format::scientific)
          .ptr;
  std::string out(buffer, end);
  if (plain && out.find('.') == std::string::npos) out += ".0";
  return out;
}

void append_hex(std::string& out, const char* prefix, char32_t c, int digits) {
  out += prefix;
  for (int i = digits - 1; i >= 0; --i) out.push_back("0123456789abcdef"[c >> (4 * i) & 15]);
}

/// repr(str). Characters outside ASCII are taken to be printable.
std::string quoted(std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  std::string out(1, quote);
  for (const char c : text) {
    const auto b = static_cast<unsigned char>(c);
    if (c == quote || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (b < 0x20 || b == 0x7F) {
      append_hex(out, "\\x", b, 2);
    } else {
      out += c;
    }
  }
  return out + quote;
}

void repr(const Value& v, std::string& out, int depth) {
  check_depth(depth);
  if (v.is_string()) {
    out += quoted(v.string());
  } else if (v.is_list()) {
    const List& l = v.list();
    if (l.generator) fail("a generator cannot be printed: add | list");
    out += l.tuple ? '(' : '[';
    for (std::size_t i = 0; i < l.items.size(); ++i) {
      if (i > 0) out += ", ";
      repr(l.items[i], out, depth + 1);
    }
    if (l.tuple && l.items.size() == 1) out += ',';
    out += l.tuple ? ')' : ']';
  } else if (v.is_dict()) {
    if (v.dict().is_namespace) fail("a namespace cannot be printed");
    out += '{';
    bool first = true;
    for (const auto& [key, value] : v.dict().items) {
      if (!first) out += ", ";
      first = false;
      repr(key, out, depth + 1);
      out += ": ";
      repr(value, out, depth + 1);
    }
    out += '}';
  } else if (v.is_undefined()) {
    out += "Undefined";
  } else {
    out += to_text(v);
  }
}

std::string json_string(std::string_view text, bool ensure_ascii) {
  std::string out = "\"";
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const char32_t c = next_char(text, at);
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (c < 0x20 || (ensure_ascii && c >= 0x7F && c < 0x10000)) {
          append_hex(out, "\\u", c, 4);
        } else if (ensure_ascii && c >= 0x10000) {
          append_hex(out, "\\u", 0xD800 + ((c - 0x10000) >> 10), 4);
          append_hex(out, "\\u", 0xDC00 + ((c - 0x10000) & 0x3FF), 4);
        } else {
          out += text.substr(begin, at - begin);
        }
    }
  }
  return out + '"';
}

std::string json_key(const Value& key) {
  if (key.is_string()) return key.string();
  if (key.is_bool()) return key.truthy() ? "true" : "false";
  if (key.is_none()) return "null";
  if (key.is_number()) return to_text(key);
  fail(std::string("tojson: a key of type ") + key.type_name());
}

void json(const Value& v, const JsonStyle& style, std::string& out, int depth) {
  check_depth(depth);
  const auto newline = [&](int level) {
    if (!style.pretty) return;
    out += '\n';
    for (int i = 0; i < level; ++i) out += style.indent;
  };
  if (v.is_none()) {
    out += "null";
  } else if (v.is_bool()) {
    out += v.truthy() ? "true" : "false";
  } else if (v.is_int()) {
    out += std::to_string(v.integer());
  } else if (v.is_float()) {
    out += float_text(v.real(), true);
  } else if (v.is_string()) {
    out += json_string(v.string(), style.ensure_ascii);
  } else if (v.is_list()) {
    if (v.list().generator) fail("tojson: a generator: add | list");
    out += '[';
    bool first = true;
    for (const Value& item : v.list().items) {
      if (!first) out += style.item_separator;
      first = false;
      newline(depth + 1);
      json(item, style, out, depth + 1);
    }
    if (!first) newline(depth);
    out += ']';
  } else if (v.is_dict() && !v.dict().is_namespace) {
    auto items = v.dict().items;
    if (style.sort_keys) {
      std::stable_sort(items.begin(), items.end(), [](const auto& a, const auto& b) { return less(a.first, b.first); });
    }
    out += '{';
    bool first = true;
    for (const auto& [key, value] : items) {
      if (!first) out += style.item_separator;
      first = false;
      newline(depth + 1);
      out += json_string(json_key(key), style.ensure_ascii);
      out += style.key_separator;
      json(value, style, out, depth + 1);
    }
    if (!first) newline(depth);
    out += '}';
  } else {
    fail(std::string("tojson: a value of type ") + v.type_name());
  }
}

}  // namespace

const Value* Dict::find(const Value& key) const {
  for (const auto& [k, v] : items) {
    if (equal(k, key)) return &v;
  }
  return nullptr;
}
void Dict::set(const Value& key, Value value) {
  if (key.is_list() || key.is_dict()) fail(std::string("a key of type ") + key.type_name());
  for (auto& [k, v] : items) {
    if (equal(k, key)) {
      v = std::move(value);
      return;
    }
  }
  items.emplace_back(key, std::move(value));
}
const Value* Arguments::find(std::size_t i, std::string_view name) const {
  if (i < positional.size()) return &positional[i];
  for (const auto& [n, v] : named) {
    if (n == name) return &v;
  }
  return nullptr;
}

bool Value::truthy() const {
  if (is_undefined() || is_none()) return false;
  if (is_number()) return real() != 0;
  if (is_string()) return !string().empty();
  if (is_list()) return list().generator || !list().items.empty();
  if (is_dict()) return dict().is_namespace || !dict().items.empty();
  return true;
}
bool Value::same_object(const Value& other) const {
  if (held_.index() != other.held_.index()) return false;
  if (is_list()) return &list() == &other.list();
  if (is_dict()) return &dict() == &other.dict();
  if (is_function()) return &function() == &other.function();
  return equal(*this, other);
}
const char* Value::type_name() const {
  constexpr const char* names[] = {"undefined", "NoneType", "bool", "int", "float", "str", "list", "dict", "function"};
  return names[held_.index()];
}

bool equal(const Value& a, const Value& b, int depth) {
  check_depth(depth);
  if (a.is_number() && b.is_number()) {
    return a.is_float() || b.is_float() ? a.real() == b.real() : a.integer() == b.integer();
  }
  if (a.is_string() && b.is_string()) return a.string() == b.string();
  if (a.is_none() || a.is_undefined()) return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
  if (a.is_list() && b.is_list()) {
    return a.list().tuple == b.list().tuple &&
           std::equal(a.list().items.begin(), a.list().items.end(), b.list().items.begin(), b.list().items.end(),
                      [&](const Value& x, const Value& y) { return equal(x, y, depth + 1); });
  }
  if (a.is_dict() && b.is_dict()) {
    if (a.dict().is_namespace || b.dict().is_namespace) return &a.dict() == &b.dict();
    return a.dict().items.size() == b.dict().items.size() &&
           std::all_of(a.dict().items.begin(), a.dict().items.end(), [&](const auto& item) {
             const Value* const other = b.dict().find(item.first);
             return other != nullptr && equal(item.second, *other, depth + 1);
           });
  }
  return a.is_function() && b.is_function() && &a.function() == &b.function();
}

bool less(const Value& a, const Value& b, int depth) {
  check_depth(depth);
  if (a.is_number() && b.is_number()) {
    return a.is_float() || b.is_float() ? a.real() < b.real() : a.integer() < b.integer();
  }
  if (a.is_string() && b.is_string()) return a.string() < b.string();  // UTF-8 orders as its code points do
  if (a.is_list() && b.is_list() && a.list().tuple == b.list().tuple) {
    return std::lexicographical_compare(a.list().items.begin(), a.list().items.end(), b.list().items.begin(),
                                        b.list().items.end(),
                                        [&](const Value& x, const Value& y) { return less(x, y, depth + 1); });
  }
  fail(std::string("'<' not supported between ") + a.type_name() + " and " + b.type_name());
}

std::string to_text(const Value& v) {
  if (v.is_undefined()) return {};
  if (v.is_none()) return "None";
  if (v.is_bool()) return v.truthy() ? "True" : "False";
  if (v.is_int()) return std::to_string(v.integer());
  if (v.is_float()) return float_text(v.real(), false);
  if (v.is_string()) return v.string();
  if (v.is_function()) fail("a function cannot be printed");
  std::string out;
  repr(v, out, 0);
  return out;
}

std::vector<std::string> characters(std::string_view text) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t n = char_length(text[at]);
    out.emplace_back(text.substr(at, n));
    at += n;
  }
  return out;
}

std::vector<Value> iterate(const Value& v) {
  std::vector<Value> out;
  if (v.is_undefined()) return out;
  if (v.is_list()) {
    if (v.list().generator && std::exchange(v.list().visited, true)) return out;
    return v.list().items;
  }
  if (v.is_dict() && !v.dict().is_namespace) {
    for (const auto& item : v.dict().items) out.push_back(item.first);
    return out;
  }
  if (v.is_string()) {
    for (auto& c : characters(v.string())) out.emplace_back(std::move(c));
    return out;
  }
  fail(std::string("a value of type ") + v.type_name() + " is not iterable");
}

std::string to_json_text(const Value& value, const JsonStyle& style) {
  std::string out;
  json(value, style, out, 0);
  return out;
}

}  // namespace sparing::jinja
