#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>

#include "text/jinja/library.h"
#include "text/unicode.h"

namespace sparing::jinja {
namespace {

using Filter = Value (*)(const Value&, const Arguments&, const Context&);

bool flag(const Arguments& a, std::size_t i, const char* name, bool otherwise) {
  const Value* const v = a.find(i, name);
  return v == nullptr ? otherwise : v->truthy();
}
std::string text_or(const Arguments& a, std::size_t i, const char* name, const char* otherwise) {
  const Value* const v = a.find(i, name);
  return v == nullptr ? otherwise : to_text(*v);
}
std::int64_t size_of(const Value& v) {
  if (v.is_string()) return static_cast<std::int64_t>(characters(v.string()).size());
  if (v.is_list() && !v.list().generator) return static_cast<std::int64_t>(v.list().items.size());
  if (v.is_dict() && !v.dict().is_namespace) return static_cast<std::int64_t>(v.dict().items.size());
  if (v.is_undefined()) return 0;
  fail(std::string("a value of type ") + v.type_name() + " has no length");
}
/// "a.b" of a value, as map(attribute=...) and its like follow it.
Value follow(Value v, const std::string& path, const Context& context) {
  for (std::size_t at = 0; at <= path.size();) {
    const std::size_t dot = std::min(path.find('.', at), path.size());
    const std::string part = path.substr(at, dot - at);
    std::int64_t index = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool number = error == std::errc() && end == part.data() + part.size();
    v = number ? item_of(v, index, context) : item_of(v, part, context);
    at = dot + 1;
  }
  return v;
}
Arguments rest(const Arguments& a, std::size_t from) {
  Arguments out;
  for (std::size_t i = from; i < a.positional.size(); ++i) out.positional.push_back(a.positional[i]);
  return out;
}

Value filter_trim(const Value& v, const Arguments& a, const Context&) {
  const Value* const chars = a.find(0, "chars");
  const bool given = chars != nullptr && chars->is_string();
  return strip_text(to_text(v), given ? &chars->string() : nullptr, true, true);
}
Value filter_length(const Value& v, const Arguments&, const Context&) {
  return size_of(v);
}
Value filter_default(const Value& v, const Arguments& a, const Context&) {
  const bool replace = v.is_undefined() || (flag(a, 1, "boolean", false) && !v.truthy());
  const Value* const other = a.find(0, "default_value");
  return !replace ? v : other != nullptr ? *other : Value("");
}
constexpr std::int64_t kWidestIndent = 64;
Value filter_tojson(const Value& v, const Arguments& a, const Context& context) {
  JsonStyle style;
  style.ensure_ascii = flag(a, 0, "ensure_ascii", false);
  const Value* const indent = a.find(1, "indent");
  if (indent != nullptr && !indent->is_none()) {
    style.pretty = true;
    style.item_separator = std::string(1, ',');
    if (!indent->is_string() && !indent->is_int()) fail("tojson: indent must be a number or a string");
    if (indent->is_int() && indent->integer() > kWidestIndent)
      fail("tojson: an indent of more than 64 is not supported");
    style.indent = indent->is_string()
                       ? indent->string()
                       : std::string(static_cast<std::size_t>(std::max<std::int64_t>(indent->integer(), 0)), ' ');
  }
  const Value* const separators = a.find(2, "separators");
  if (separators != nullptr && !separators->is_none()) {
    const std::vector<Value> both = iterate(*separators);
    if (both.size() != 2) fail("tojson: two separators are needed");
    style.item_separator = to_text(both[0]);
    style.key_separator = to_text(both[1]);
  }
  style.sort_keys = flag(a, 3, "sort_keys", false);
  std::string out = to_json_text(v, style);
  context.charge(out.size());
  return out;
}
Value filter_join(const Value& v, const Arguments& a, const Context& context) {
  const std::string between = text_or(a, 0, "d", "");
  const Value* const attribute = a.find(1, "attribute");
  std::string out;
  bool first = true;
  for (const Value& item : iterate(v)) {
    if (!first) out += between;
    first = false;
    out += to_text(attribute != nullptr ? follow(item, to_text(*attribute), context) : item);
    if (out.size() > (1u << 26)) fail("join makes too long a text");
  }
  context.charge(out.size());
  return out;
}
template <const char* const& How>
Value filter_case(const Value& v, const Arguments&, const Context&) {
  return change_case(to_text(v), How);
}
constexpr const char* kUpper = "upper";
constexpr const char* kLower = "lower";
constexpr const char* kCapitalize = "capitalize";
Value filter_title(const Value& v, const Arguments&, const Context&) {
  // Jinja's own: words begin after white space and brackets, not after every other character.
  std::string s = change_case(to_text(v), kLower);
  bool start = true;
  for (char& c : s) {
    if (start && c >= 'a' && c <= 'z') c = static_cast<char>(c - 32);
    start = c == '-' || c == '(' || c == '{' || c == '[' || c == '<' ||
            (kAsciiClass[static_cast<unsigned char>(c)] & kSpace);
  }
  return s;
}
Value filter_first(const Value& v, const Arguments&, const Context&) {
  const std::vector<Value> items = iterate(v);
  return items.empty() ? Value(Undefined{"the first of nothing"}) : items.front();
}
Value filter_last(const Value& v, const Arguments&, const Context&) {
  const std::vector<Value> items = iterate(v);
  return items.empty() ? Value(Undefined{"the last of nothing"}) : items.back();
}
Value filter_list(const Value& v, const Arguments&, const Context&) {
  return List{iterate(v), false};
}
Value filter_string(const Value& v, const Arguments&, const Context&) {
  return to_text(v);
}
Value filter_safe(const Value& v, const Arguments&, const Context&) {
  return Value(to_text(v)).marked_safe();
}
Value filter_int(const Value& v, const Arguments& a, const Context&) {
  const Value* const other = a.find(0, "default");
  const Value otherwise = other != nullptr ? *other : Value(std::int64_t{0});
  if (v.is_bool() || v.is_int()) return v.integer();
  double d = 0;
  if (v.is_float()) {
    d = v.real();
  } else if (v.is_string()) {
    const std::string s = strip_text(v.string(), nullptr, true, true);
    const char* const begin = s.data() + (s.starts_with('+') ? 1 : 0);
    const char* const end = s.data() + s.size();
    std::int64_t i = 0;
    if (const auto r = std::from_chars(begin, end, i); r.ec == std::errc() && r.ptr == end) return i;
    if (const auto r = std::from_chars(begin, end, d); r.ec != std::errc() || r.ptr != end) return otherwise;
  } else {
    return otherwise;
  }
  return std::fabs(d) < 9e18 ? Value(static_cast<std::int64_t>(d)) : otherwise;
}
Value filter_float(const Value& v, const Arguments& a, const Context&) {
  const Value* const other = a.find(0, "default");
  const Value otherwise = other != nullptr ? *other : Value(0.0);
  if (v.is_number()) return v.real();
  if (!v.is_string()) return otherwise;
  const std::string s = strip_text(v.string(), nullptr, true, true);
  const char* const begin = s.data() + (s.starts_with('+') ? 1 : 0);
  double d = 0;
  const auto r = std::from_chars(begin, s.data() + s.size(), d);
  return r.ec == std::errc() && r.ptr == s.data() + s.size() ? Value(d) : otherwise;
}
Value filter_replace(const Value& v, const Arguments& a, const Context& context) {
  const Value *const from = a.find(0, "old"), *const to = a.find(1, "new"), *const count = a.find(2, "count");
  if (from == nullptr || to == nullptr) fail("replace: two arguments are needed");
  return replace_text(to_text(v), to_text(*from), to_text(*to),
                      count != nullptr && count->is_int() ? count->integer() : -1, context);
}
Value filter_items(const Value& v, const Arguments&, const Context&) {
  List out;
  out.generator = true;
  if (v.is_undefined()) return out;
  if (!v.is_dict()) fail("items: a mapping is needed");
  for (const auto& [key, value] : v.dict().items) out.items.emplace_back(List{{key, value}, true});
  return out;
}
/// Sorts without regard to case unless told otherwise, as Jinja does.
Value sorted(std::vector<Value> items, const Arguments& a, std::size_t reverse_at,
             const std::function<Value(const Value&)>& key) {
  const bool reverse = flag(a, reverse_at, "reverse", false);
  const bool by_case = flag(a, reverse_at == 0 ? 1 : 0, "case_sensitive", false);
  std::vector<std::pair<Value, Value>> keyed;
  for (Value& item : items) {
    Value k = key(item);
    if (k.is_string() && !by_case) k = change_case(k.string(), kLower);
    keyed.emplace_back(std::move(k), std::move(item));
  }
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& x, const auto& y) {
    return reverse ? less(y.first, x.first) : less(x.first, y.first);
  });
  List out;
  for (auto& k : keyed) out.items.push_back(std::move(k.second));
  return out;
}
Value filter_dictsort(const Value& v, const Arguments& a, const Context& context) {
  const std::string by = text_or(a, 1, "by", "key");
  if (by != "key" && by != "value") fail(std::string("dictsort by '").append(by).append("'"));
  const std::int64_t part = by == "key" ? 0 : 1;
  return sorted(iterate(filter_items(v, {}, context)), a, 2,
                [&](const Value& item) { return item_of(item, part, context); });
}
Value filter_sort(const Value& v, const Arguments& a, const Context& context) {
  const Value* const attribute = a.find(2, "attribute");
  return sorted(iterate(v), a, 0, [&](const Value& item) {
    return attribute != nullptr && !attribute->is_none() ? follow(item, to_text(*attribute), context) : item;
  });
}
Value filter_map(const Value& v, const Arguments& a, const Context& context) {
  List out;
  out.generator = true;
  const Value* const attribute = a.find(a.positional.size(), "attribute");
  const Value* const otherwise = a.find(a.positional.size(), "default");
  if (attribute == nullptr && a.positional.empty()) fail("map: a filter or an attribute is needed");
  if (!v.truthy()) return out;  // also of none, as in Jinja
  for (const Value& item : iterate(v)) {
    if (attribute != nullptr) {
      Value got = follow(item, to_text(*attribute), context);
      out.items.push_back(got.is_undefined() && otherwise != nullptr ? *otherwise : got);
    } else {
      out.items.push_back(apply_filter(to_text(a.positional[0]), item, rest(a, 1), context));
    }
    context.charge(1);
  }
  return out;
}
Value select(const Value& v, const Arguments& a, const Context& context, bool wanted, bool attribute) {
  if (attribute && a.positional.empty()) fail("selectattr: an attribute is needed");
  const std::size_t at = attribute ? 1 : 0;
  List out;
  out.generator = true;
  if (!v.truthy()) return out;  // also of none, as in Jinja
  for (const Value& item : iterate(v)) {
    const Value tested = attribute ? follow(item, to_text(a.positional[0]), context) : item;
    const bool holds =
        a.positional.size() > at ? apply_test(to_text(a.positional[at]), tested, rest(a, at + 1)) : tested.truthy();
    if (holds == wanted) out.items.push_back(item);
    context.charge(1);
  }
  return out;
}
Value filter_select(const Value& v, const Arguments& a, const Context& c) {
  return select(v, a, c, true, false);
}
Value filter_reject(const Value& v, const Arguments& a, const Context& c) {
  return select(v, a, c, false, false);
}
Value filter_selectattr(const Value& v, const Arguments& a, const Context& c) {
  return select(v, a, c, true, true);
}
Value filter_rejectattr(const Value& v, const Arguments& a, const Context& c) {
  return select(v, a, c, false, true);
}
Value filter_reverse(const Value& v, const Arguments&, const Context&) {
  std::vector<Value> items = iterate(v);
  std::reverse(items.begin(), items.end());
  if (!v.is_string()) return List{std::move(items), false, true};
  std::string out;
  for (const Value& c : items) out += c.string();
  return out;
}
Value filter_unique(const Value& v, const Arguments&, const Context& context) {
  List out;
  out.generator = true;
  for (const Value& item : iterate(v)) {
    context.charge(out.items.size());
    const auto folded = [](const Value& x) { return x.is_string() ? Value(change_case(x.string(), kLower)) : x; };
    if (std::none_of(out.items.begin(), out.items.end(),
                     [&](const Value& x) { return equal(folded(x), folded(item)); })) {
      out.items.push_back(item);
    }
  }
  return out;
}
Value filter_indent(const Value& v, const Arguments& a, const Context& context) {
  const Value* const width = a.find(0, "width");
  const bool number = width == nullptr || width->is_int();
  const std::string by =
      number ? std::string(
                   static_cast<std::size_t>(std::clamp<std::int64_t>(width == nullptr ? 4 : width->integer(), 0, 1000)),
                   ' ')
             : to_text(*width);
  const bool first = flag(a, 1, "first", false), blank = flag(a, 2, "blank", false);
  const std::string s = to_text(v);
  std::string out;
  for (std::size_t at = 0; at <= s.size();) {
    const std::size_t end = std::min(s.find('\n', at), s.size());
    const bool is_first = at == 0;
    if ((is_first && first) || (!is_first && (blank || end > at))) out += by;
    out.append(s, at, end - at);
    if (end < s.size()) out += '\n';
    context.charge(by.size() + end - at + 1);
    at = end + 1;
  }
  return out;
}
Value filter_abs(const Value& v, const Arguments&, const Context&) {
  if (v.is_float()) return std::fabs(v.real());
  if (!v.is_number() || v.integer() == std::numeric_limits<std::int64_t>::min()) fail("abs: a number is needed");
  return std::abs(v.integer());
}
Value extreme(const Value& v, bool largest) {
  const std::vector<Value> items = iterate(v);
  if (items.empty()) return Undefined{"the extreme of nothing"};
  return *(
      largest
          ? std::max_element(items.begin(), items.end(), [](const Value& x, const Value& y) { return less(x, y); })
          : std::min_element(items.begin(), items.end(), [](const Value& x, const Value& y) { return less(x, y); }));
}
Value filter_max(const Value& v, const Arguments&, const Context&) {
  return extreme(v, true);
}
Value filter_min(const Value& v, const Arguments&, const Context&) {
  return extreme(v, false);
}

const std::map<std::string, Filter>& filters() {
  static const std::map<std::string, Filter> table = {
      {"abs", filter_abs},
      {"capitalize", filter_case<kCapitalize>},
      {"count", filter_length},
      {"d", filter_default},
      {"default", filter_default},
      {"dictsort", filter_dictsort},
      {"first", filter_first},
      {"float", filter_float},
      {"indent", filter_indent},
      {"int", filter_int},
      {"items", filter_items},
      {"join", filter_join},
      {"last", filter_last},
      {"length", filter_length},
      {"list", filter_list},
      {"lower", filter_case<kLower>},
      {"map", filter_map},
      {"max", filter_max},
      {"min", filter_min},
      {"reject", filter_reject},
      {"rejectattr", filter_rejectattr},
      {"replace", filter_replace},
      {"reverse", filter_reverse},
      {"safe", filter_safe},
      {"select", filter_select},
      {"selectattr", filter_selectattr},
      {"sort", filter_sort},
      {"string", filter_string},
      {"title", filter_title},
      {"tojson", filter_tojson},
      {"trim", filter_trim},
      {"unique", filter_unique},
      {"upper", filter_case<kUpper>},
  };
  return table;
}

const Value& operand(const Arguments& a, const std::string& name) {
  if (a.positional.empty()) fail(std::string("the test ").append(name).append(" needs an argument"));
  return a.positional[0];
}

}  // namespace

Value apply_filter(const std::string& name, const Value& value, const Arguments& arguments, const Context& context) {
  const auto it = filters().find(name);
  if (it == filters().end()) fail(std::string("the filter '").append(name).append("' is not supported"));
  if (value.is_safe() && name != "safe" && name != "length" && name != "tojson") {
    fail("the filter '" + std::string(name) + "' of a text marked safe is not supported");
  }
  context.charge(1 + (value.is_string() ? value.string().size() : 0));
  return it->second(value, arguments, context);
}

bool contains(const Value& container, const Value& item) {
  if (container.is_string()) {
    if (!item.is_string()) fail(std::string("'in <string>' needs a string, not ") + item.type_name());
    return container.string().find(item.string()) != std::string::npos;
  }
  const std::vector<Value> items = iterate(container);
  return std::any_of(items.begin(), items.end(), [&](const Value& v) { return equal(v, item); });
}

bool apply_test(const std::string& name, const Value& v, const Arguments& a) {
  if (name == "defined") return !v.is_undefined();
  if (name == "undefined") return v.is_undefined();
  if (name == "none") return v.is_none();
  if (name == "string") return v.is_string();
  if (name == "number") return v.is_number();
  if (name == "integer") return v.is_int();
  if (name == "float") return v.is_float();
  if (name == "boolean") return v.is_bool();
  if (name == "true") return v.is_bool() && v.truthy();
  if (name == "false") return v.is_bool() && !v.truthy();
  if (name == "mapping") return v.is_dict() && !v.dict().is_namespace;
  if (name == "sequence")
    return v.is_string() || v.is_list() || (v.is_dict() && !v.dict().is_namespace) || v.is_undefined();
  if (name == "iterable")
    return v.is_string() || v.is_list() || (v.is_dict() && !v.dict().is_namespace) || v.is_undefined();
  if (name == "callable") return v.is_function();
  if (name == "eq" || name == "equalto" || name == "==") return equal(v, operand(a, name));
  if (name == "ne" || name == "!=") return !equal(v, operand(a, name));
  if (name == "lt" || name == "lessthan" || name == "<") return less(v, operand(a, name));
  if (name == "gt" || name == "greaterthan" || name == ">") return less(operand(a, name), v);
  if (name == "le" || name == "<=") return !less(operand(a, name), v);
  if (name == "ge" || name == ">=") return !less(v, operand(a, name));
  if (name == "in") return contains(operand(a, name), v);
  if (name == "sameas") return v.same_object(operand(a, name));
  if (name == "lower")
    return v.is_string() && change_case(v.string(), "lower") == v.string() &&
           change_case(v.string(), "upper") != v.string();
  if (name == "upper")
    return v.is_string() && change_case(v.string(), "upper") == v.string() &&
           change_case(v.string(), "lower") != v.string();
  if (name == "odd" || name == "even" || name == "divisibleby") {
    if (!v.is_int() && !v.is_bool()) fail(std::string("the test ").append(name).append(" needs an integer"));
    if (name == "odd") return v.integer() % 2 != 0;
    if (name == "even") return v.integer() % 2 == 0;
    const Value& by = operand(a, name);
    if (!by.is_int() || by.integer() == 0 || by.integer() == -1) fail("divisibleby: a divisor is needed");
    return v.integer() % by.integer() == 0;
  }
  fail(std::string("the test '").append(name).append("' is not supported"));
}

}  // namespace sparing::jinja
