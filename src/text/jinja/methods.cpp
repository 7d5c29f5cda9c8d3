#include <algorithm>

#include "text/jinja/library.h"
#include "text/unicode.h"

namespace sparing::jinja {
namespace {

bool python_space(std::string_view text, std::size_t at) {
  const char c = text[at];
  return (c >= '\x1c' && c <= '\x1f') || (char_class(next_char(text, at)) & kSpace) != 0;
}
const std::string& text_argument(const Arguments& a, std::size_t i, const char* what) {
  const Value* const v = a.find(i, what);
  if (v == nullptr || !v->is_string()) fail(std::string(what) + ": a string is needed");
  return v->string();
}
std::int64_t number_argument(const Arguments& a, std::size_t i, const char* name, std::int64_t otherwise) {
  const Value* const v = a.find(i, name);
  if (v == nullptr || v->is_none()) return otherwise;
  if (!v->is_int() && !v->is_bool()) fail(std::string(name) + ": an integer is needed");
  return v->integer();
}

Value split(const std::string& s, const Arguments& a, bool from_right, const Context& context) {
  const Value* const separator = a.find(0, "sep");
  std::int64_t left = number_argument(a, 1, "maxsplit", -1);
  List out;
  std::vector<std::string> parts;
  if (separator == nullptr || separator->is_none()) {
    if (from_right && left >= 0) fail("rsplit by white space with a limit is not supported");
    for (std::size_t at = 0; at < s.size();) {
      while (at < s.size() && python_space(s, at)) at += char_length(s[at]);
      if (at >= s.size()) break;
      std::size_t end = at;
      if (left == 0) {
        end = s.size();
        while (end > at && python_space(s, previous_start(s, end))) end = previous_start(s, end);
      } else {
        while (end < s.size() && !python_space(s, end)) end += char_length(s[end]);
      }
      parts.push_back(s.substr(at, end - at));
      if (left == 0) break;
      --left;
      at = end;
    }
  } else {
    if (!separator->is_string() || separator->string().empty()) fail("split: a separator that is not empty is needed");
    const std::string& by = separator->string();
    if (from_right) {
      std::size_t end = s.size();
      for (std::size_t at; left != 0 && end >= by.size() && (at = s.rfind(by, end - by.size())) != std::string::npos;
           --left) {
        parts.push_back(s.substr(at + by.size(), end - at - by.size()));
        end = at;
      }
      parts.push_back(s.substr(0, end));
      std::reverse(parts.begin(), parts.end());
    } else {
      std::size_t begin = 0;
      for (std::size_t at; left != 0 && (at = s.find(by, begin)) != std::string::npos; --left) {
        parts.push_back(s.substr(begin, at - begin));
        begin = at + by.size();
      }
      parts.push_back(s.substr(begin));
    }
  }
  context.charge(s.size() + parts.size() * 16);
  for (auto& p : parts) out.items.emplace_back(std::move(p));
  return out;
}

Value splitlines(const std::string& s, const Context& context) {
  List out;
  for (std::size_t at = 0; at < s.size();) {
    std::size_t end = s.find_first_of("\n\r", at);
    if (end == std::string::npos) end = s.size();
    out.items.emplace_back(s.substr(at, end - at));
    if (end + 1 < s.size() && s[end] == '\r' && s[end + 1] == '\n') ++end;
    at = end + 1;
  }
  context.charge(s.size() + out.items.size() * 16);
  return out;
}

bool affix(const std::string& s, const Arguments& a, bool at_end, const char* what) {
  const Value* const v = a.find(0, what);
  if (v == nullptr) fail(std::string(what) + ": an argument is needed");
  const auto one = [&](const Value& x) {
    if (!x.is_string()) fail(std::string(what) + ": a string is needed");
    return at_end ? s.ends_with(x.string()) : s.starts_with(x.string());
  };
  return v->is_list() ? std::any_of(v->list().items.begin(), v->list().items.end(), one) : one(*v);
}

/// Position in characters of what find or rfind found.
Value position(const std::string& s, std::size_t at) {
  if (at == std::string::npos) return std::int64_t{-1};
  return static_cast<std::int64_t>(characters(std::string_view(s).substr(0, at)).size());
}

Value string_method(const std::string& s, const std::string& name, const Arguments& a, const Context& context) {
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    const Value* const chars = a.find(0, "chars");
    const std::string* const set = chars != nullptr && chars->is_string() ? &chars->string() : nullptr;
    return strip_text(s, set, name != "rstrip", name != "lstrip");
  }
  if (name == "split") return split(s, a, false, context);
  if (name == "rsplit") return split(s, a, true, context);
  if (name == "splitlines") return splitlines(s, context);
  if (name == "startswith") return affix(s, a, false, "startswith");
  if (name == "endswith") return affix(s, a, true, "endswith");
  if (name == "upper" || name == "lower" || name == "title" || name == "capitalize")
    return change_case(s, name.c_str());
  if (name == "replace") {
    return replace_text(s, text_argument(a, 0, "replace"), text_argument(a, 1, "replace"),
                        number_argument(a, 2, "count", -1), context);
  }
  if (name == "find") return position(s, s.find(text_argument(a, 0, "find")));
  if (name == "rfind") return position(s, s.rfind(text_argument(a, 0, "rfind")));
  if (name == "removeprefix") {
    const std::string& p = text_argument(a, 0, "removeprefix");
    return s.starts_with(p) ? s.substr(p.size()) : s;
  }
  if (name == "removesuffix") {
    const std::string& p = text_argument(a, 0, "removesuffix");
    return s.ends_with(p) && !p.empty() ? s.substr(0, s.size() - p.size()) : s;
  }
  if (name == "count") {
    const std::string& p = text_argument(a, 0, "count");
    if (p.empty()) fail("count of an empty string is not supported");
    std::int64_t n = 0;
    for (std::size_t at = s.find(p); at != std::string::npos; at = s.find(p, at + p.size())) ++n;
    return n;
  }
  if (name == "isdigit") {
    if (std::any_of(s.begin(), s.end(), [](char c) { return (c & 0x80) != 0; }))
      fail("isdigit beyond ASCII is not supported");
    return !s.empty() && std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; });
  }
  if (name == "join") {
    if (a.positional.empty()) fail("join: an argument is needed");
    std::string out;
    bool first = true;
    for (const Value& v : iterate(a.positional[0])) {
      if (!v.is_string()) fail(std::string("join: a value of type ") + v.type_name());
      if (!first) out += s;
      first = false;
      out += v.string();
      context.charge(s.size() + v.string().size());
    }
    return out;
  }
  return Undefined{name};
}

bool has_string_method(const std::string& name) {
  constexpr const char* names[] = {"strip",        "lstrip",       "rstrip",   "split",   "rsplit",
                                   "splitlines",   "startswith",   "endswith", "upper",   "lower",
                                   "title",        "capitalize",   "replace",  "find",    "rfind",
                                   "removeprefix", "removesuffix", "count",    "isdigit", "join"};
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

Value dict_method(const Value& of, const std::string& name, const Arguments& a, const Context& context) {
  const Dict& d = of.dict();
  context.charge(d.items.size());
  if (name == "get") {
    if (a.positional.empty()) fail("get: a key is needed");
    const Value* const found = d.find(a.positional[0]);
    const Value* const otherwise = a.find(1, "default");
    return found != nullptr ? *found : otherwise != nullptr ? *otherwise : Value(None{});
  }
  List out;
  for (const auto& [key, value] : d.items) {
    if (name == "keys") out.items.push_back(key);
    if (name == "values") out.items.push_back(value);
    if (name == "items") out.items.emplace_back(List{{key, value}, true});
  }
  return out;
}

Value list_method(const Value& of, const std::string& name, const Arguments& a) {
  if (a.positional.size() != 1) fail(name + ": one argument is needed");
  const auto& items = of.list().items;
  if (name == "count") {
    return static_cast<std::int64_t>(
        std::count_if(items.begin(), items.end(), [&](const Value& v) { return equal(v, a.positional[0]); }));
  }
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (equal(items[i], a.positional[0])) return static_cast<std::int64_t>(i);
  }
  fail("index: the value is not in the list");
}

}  // namespace

std::string strip_text(const std::string& text, const std::string* chars, bool left, bool right) {
  const std::vector<std::string> set = chars != nullptr ? characters(*chars) : std::vector<std::string>();
  const auto taken = [&](std::size_t at) {
    if (chars == nullptr) return python_space(text, at);
    return std::find(set.begin(), set.end(), text.substr(at, char_length(text[at]))) != set.end();
  };
  std::size_t begin = 0, end = text.size();
  while (left && begin < end && taken(begin)) begin += char_length(text[begin]);
  while (right && end > begin && taken(previous_start(text, end))) end = previous_start(text, end);
  return text.substr(begin, end - begin);
}

std::string change_case(const std::string& text, const char* what) {
  const std::string_view how = what;
  std::string out = text;
  bool start = true;
  for (char& c : out) {
    if ((c & 0x80) != 0) fail(std::string(what) + " of text beyond ASCII is not supported");
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    const bool up = how == "upper" || (how != "lower" && start);
    if (letter) c = static_cast<char>(up ? c & ~0x20 : c | 0x20);
    start = how == "title" ? !letter : false;
  }
  return out;
}

std::string replace_text(const std::string& text, const std::string& from, const std::string& to, std::int64_t count,
                         const Context& context) {
  if (from.empty()) fail("replace of an empty string is not supported");
  std::string out;
  std::size_t kept = 0;
  for (std::size_t at = text.find(from); at != std::string::npos && count != 0; at = text.find(from, kept), --count) {
    context.charge(to.size() + at - kept);
    out.append(text, kept, at - kept);
    out += to;
    kept = at + from.size();
  }
  return out + text.substr(kept);
}

Value method(const Value& of, const std::string& name, const Context& context) {
  if (of.is_string() && has_string_method(name)) {
    if (of.is_safe()) fail("the method " + std::string(name) + " of a text marked safe is not supported");
    return Function([of, name, context](const Arguments& a) {
      context.charge(of.string().size());
      return string_method(of.string(), name, a, context);
    });
  }
  if (of.is_dict() && !of.dict().is_namespace &&
      (name == "get" || name == "keys" || name == "values" || name == "items")) {
    return Function([of, name, context](const Arguments& a) { return dict_method(of, name, a, context); });
  }
  if (of.is_list() && (name == "index" || name == "count")) {
    return Function([of, name](const Arguments& a) { return list_method(of, name, a); });
  }
  constexpr const char* known[] = {
      "append",  "extend",    "insert",     "pop",        "remove",    "update",    "setdefault", "format",
      "sort",    "reverse",   "clear",      "copy",       "encode",    "partition", "casefold",   "zfill",
      "ljust",   "rjust",     "center",     "swapcase",   "isalpha",   "isalnum",   "isspace",    "isupper",
      "islower", "isnumeric", "rpartition", "expandtabs", "translate", "popitem",   "format_map", "rindex"};
  const bool builtin = of.is_string() || of.is_list() || (of.is_dict() && !of.dict().is_namespace);
  if (builtin && std::find(std::begin(known), std::end(known), name) != std::end(known) &&
      !(of.is_dict() && of.dict().find(name) != nullptr)) {
    fail(std::string("the method ") + name + " of " + of.type_name() + " is not supported");
  }
  return Undefined{name};
}

Value attribute_of(const Value& of, const std::string& name, const Context& context) {
  if (of.is_undefined()) fail("'" + of.undefined_name() + "' is undefined");
  if (Value bound = method(of, name, context); !bound.is_undefined()) return bound;
  if (of.is_dict()) {
    if (const Value* const found = of.dict().find(name)) return *found;
  }
  return Undefined{name};
}

Value item_of(const Value& of, const Value& key, const Context& context) {
  if (of.is_undefined()) fail("'" + of.undefined_name() + "' is undefined");
  if (of.is_list() && of.list().generator) fail("an item of a generator: add | list");
  if (of.is_dict()) {
    context.charge(of.dict().items.size());
    if (const Value* const found = of.dict().find(key)) return *found;
  } else if ((of.is_list() || of.is_string()) && (key.is_int() || key.is_bool())) {
    const std::vector<Value> items = iterate(of);
    context.charge(items.size());
    const auto n = static_cast<std::int64_t>(items.size());
    const std::int64_t i = key.integer() < 0 ? key.integer() + n : key.integer();
    return i >= 0 && i < n ? items[static_cast<std::size_t>(i)]
                           : Value(Undefined{"item " + std::to_string(key.integer())});
  }
  return key.is_string() ? method(of, key.string(), context) : Value(Undefined{to_text(key)});
}

}  // namespace sparing::jinja
