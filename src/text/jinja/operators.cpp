#include "text/jinja/operators.h"

#include <algorithm>
#include <cmath>
#include <optional>

namespace sparing::jinja {
namespace {

constexpr std::size_t kItem = 8;  ///< bytes that copying a list's item counts as

/// What joins a text that is marked safe is escaped for HTML, as Python's markupsafe does.
std::string escaped(const Value& v) {
  if (v.is_safe()) return v.string();
  std::string out;
  for (const char c : to_text(v)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

Value real_arithmetic(const std::string& op, double a, double b) {
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (op == "**") return std::pow(a, b);
  if (b == 0) fail("division by zero");
  if (op == "/") return a / b;
  const double quotient = std::floor(a / b);
  return op == "//" ? quotient : a - quotient * b;
}

Value arithmetic(const std::string& op, const Value& left, const Value& right) {
  if (op == "/" || left.is_float() || right.is_float()) return real_arithmetic(op, left.real(), right.real());
  const std::int64_t a = left.integer(), b = right.integer();
  std::int64_t r = 0;
  bool overflow = false;
  if (op == "+") {
    overflow = __builtin_add_overflow(a, b, &r);
  } else if (op == "-") {
    overflow = __builtin_sub_overflow(a, b, &r);
  } else if (op == "*") {
    overflow = __builtin_mul_overflow(a, b, &r);
  } else if (op == "**") {
    if (b < 0) return real_arithmetic(op, left.real(), right.real());
    r = 1;
    if (b > 64 && a != 0 && a != 1) fail("an integer out of range");
    for (std::int64_t i = 0; i < std::min<std::int64_t>(b, 65) && !overflow; ++i)
      overflow = __builtin_mul_overflow(r, a, &r);
  } else {
    if (b == 0) fail("division by zero");
    if (b == -1) {
      overflow = op == "//" && __builtin_sub_overflow(std::int64_t{0}, a, &r);
    } else {
      const std::int64_t q = a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0);
      r = op == "//" ? q : a - q * b;
    }
  }
  if (overflow) fail("an integer out of range");
  return r;
}

}  // namespace

Value slice_of(const Value& of, const std::array<Value, 3>& bounds, const Context& context) {
  if (of.is_undefined()) fail("'" + of.undefined_name() + "' is undefined");
  if (of.is_list() && of.list().generator) fail("a slice of a generator: add | list");
  if (!of.is_list() && !of.is_string()) fail(std::string("a value of type ") + of.type_name() + " cannot be sliced");
  const std::vector<Value> items = iterate(of);
  context.charge(kItem * items.size());
  const auto count = static_cast<std::int64_t>(items.size());
  std::optional<std::int64_t> given[3];
  for (std::size_t i = 0; i < 3; ++i) {
    const Value& v = bounds[i];
    if (v.is_none()) continue;
    if (!v.is_int() && !v.is_bool()) fail("a slice needs integers");
    given[i] = std::clamp<std::int64_t>(v.integer(), -(1ll << 40), 1ll << 40);
  }
  const std::int64_t step = given[2].value_or(1);
  if (step == 0) fail("a slice with a step of zero");
  const std::int64_t low = step > 0 ? 0 : -1, high = step > 0 ? count : count - 1;
  const auto bound = [&](std::optional<std::int64_t> g, std::int64_t otherwise) {
    if (!g) return otherwise;
    return std::clamp(*g < 0 ? *g + count : *g, low, high);
  };
  const std::int64_t begin = bound(given[0], step > 0 ? 0 : count - 1), end = bound(given[1], step > 0 ? count : -1);
  List out;
  out.tuple = of.is_list() && of.list().tuple;
  std::string text;
  for (std::int64_t i = begin; step > 0 ? i < end : i > end; i += step) {
    const Value& item = items[static_cast<std::size_t>(i)];
    if (of.is_string()) {
      text += item.string();
    } else {
      out.items.push_back(item);
    }
  }
  return of.is_string() ? Value(std::move(text)) : Value(std::move(out));
}

Value negate_value(const std::string& op, const Value& v) {
  if (op == "not") return !v.truthy();
  if (!v.is_number()) fail("unary " + op + " of a value of type " + v.type_name());
  if (v.is_float()) return op == "-" ? -v.real() : v.real();
  std::int64_t r = v.integer();
  if (op == "-" && __builtin_sub_overflow(std::int64_t{0}, r, &r)) fail("an integer out of range");
  return r;
}

bool compare_values(const std::string& op, const Value& left, const Value& right, const Context& context) {
  context.charge(left.is_string() && right.is_string() ? left.string().size() + right.string().size() : 1);
  return op == "=="   ? equal(left, right)
         : op == "!=" ? !equal(left, right)
         : op == "<"  ? less(left, right)
         : op == ">"  ? less(right, left)
         : op == "<=" ? less(left, right) || equal(left, right)
         : op == ">=" ? less(right, left) || equal(left, right)
         : op == "in" ? contains(right, left)
                      : !contains(right, left);
}

Value combine_values(const std::string& op, const Value& left, const Value& right, const Context& context) {
  for (const Value* v : {static_cast<const Value*>(&left), &right}) {
    if (v->is_undefined() && op != "~") fail("'" + v->undefined_name() + "' is undefined");
  }
  if (op == "+" && (left.is_safe() || right.is_safe())) {
    if (!left.is_string() || !right.is_string()) {
      fail("'+' between a text marked safe and another type is not supported");
    }
    const std::string text = escaped(left) + escaped(right);
    context.charge(text.size());
    return Value(text).marked_safe();
  }
  if (op == "~") {
    std::string text = to_text(left) + to_text(right);
    context.charge(text.size());
    return text;
  }
  if (op == "+" && left.is_string() && right.is_string()) {
    context.charge(left.string().size() + right.string().size());
    return left.string() + right.string();
  }
  if (op == "+" && left.is_list() && right.is_list() && left.list().tuple == right.list().tuple &&
      !left.list().generator && !right.list().generator) {
    List l = left.list();
    context.charge(kItem * (l.items.size() + right.list().items.size()));
    l.items.insert(l.items.end(), right.list().items.begin(), right.list().items.end());
    return l;
  }
  if (op == "*" && (left.is_string() || right.is_string()) && (left.is_int() || right.is_int())) {
    const std::string& text = left.is_string() ? left.string() : right.string();
    const auto times = static_cast<std::size_t>(
        std::clamp<std::int64_t>(left.is_int() ? left.integer() : right.integer(), 0, 1 << 26));
    if (!text.empty() && times > (1u << 26) / text.size()) fail("a string repeated too often");
    context.charge(text.size() * times);
    std::string out;
    for (std::size_t i = 0; i < times && !text.empty(); ++i) out += text;
    return out;
  }
  if (left.is_number() && right.is_number()) return arithmetic(op, left, right);
  fail("'" + op + "' between " + left.type_name() + " and " + right.type_name() + " is not supported");
}

}  // namespace sparing::jinja
