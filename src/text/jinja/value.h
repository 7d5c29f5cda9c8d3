#pragma once
// Values of a template: what Python's are to Jinja, as far as chat templates need them.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace sparing::jinja {

/// Ends a rendering; thrown within this folder only and caught where rendering begins.
struct Failure {
  std::string message;
};
[[noreturn]] inline void fail(std::string message) {
  throw Failure{std::move(message)};
}

class Value;
struct Undefined {
  std::string name;
};
struct None {};
struct List {
  std::vector<Value> items;
  bool tuple = false;
  /// What map, select and their kin give: always true, without length, gone once visited.
  bool generator = false;
  mutable bool visited = false;
};
/// Keeps insertion order, as Python's. Chat data is small: keys are searched in line.
struct Dict {
  std::vector<std::pair<Value, Value>> items;
  bool is_namespace = false;
  const Value* find(const Value& key) const;
  void set(const Value& key, Value value);
};
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
  /// Positional number i or the one of that name; null if neither is given.
  const Value* find(std::size_t i, std::string_view name) const;
};
using Function = std::function<Value(const Arguments&)>;

class Value {
 public:
  Value() : held_(Undefined{}) {}
  Value(Undefined u) : held_(std::move(u)) {}
  Value(None n) : held_(n) {}
  Value(bool b) : held_(b) {}
  Value(std::int64_t i) : held_(i) {}
  Value(double d) : held_(d) {}
  Value(std::string s) : held_(std::make_shared<const std::string>(std::move(s))) {}
  Value(std::string_view s) : Value(std::string(s)) {}
  Value(const char* s) : Value(std::string(s)) {}
  Value(List l) : held_(std::make_shared<const List>(std::move(l))) {}
  Value(Dict d) : held_(std::make_shared<Dict>(std::move(d))) {}
  Value(Function f) : held_(std::make_shared<const Function>(std::move(f))) {}

  bool is_undefined() const { return std::holds_alternative<Undefined>(held_); }
  bool is_none() const { return std::holds_alternative<None>(held_); }
  bool is_bool() const { return std::holds_alternative<bool>(held_); }
  bool is_int() const { return std::holds_alternative<std::int64_t>(held_); }
  bool is_float() const { return std::holds_alternative<double>(held_); }
  bool is_number() const { return is_bool() || is_int() || is_float(); }
  bool is_string() const { return std::holds_alternative<std::shared_ptr<const std::string>>(held_); }
  bool is_list() const { return std::holds_alternative<std::shared_ptr<const List>>(held_); }
  bool is_dict() const { return std::holds_alternative<std::shared_ptr<Dict>>(held_); }
  bool is_function() const { return std::holds_alternative<std::shared_ptr<const Function>>(held_); }

  const std::string& string() const { return *std::get<std::shared_ptr<const std::string>>(held_); }
  const List& list() const { return *std::get<std::shared_ptr<const List>>(held_); }
  const Dict& dict() const { return *std::get<std::shared_ptr<Dict>>(held_); }
  Dict& namespace_dict() const { return *std::get<std::shared_ptr<Dict>>(held_); }
  const Function& function() const { return *std::get<std::shared_ptr<const Function>>(held_); }
  const std::string& undefined_name() const { return std::get<Undefined>(held_).name; }
  /// bool and int as an int.
  std::int64_t integer() const { return is_bool() ? std::get<bool>(held_) : std::get<std::int64_t>(held_); }
  double real() const { return is_float() ? std::get<double>(held_) : static_cast<double>(integer()); }

  /// Jinja's Markup: printed as it is, and what is added to it by + is escaped (~ only joins). Other uses are refused.
  bool is_safe() const { return safe_; }
  Value marked_safe() const {
    Value v = *this;
    v.safe_ = true;
    return v;
  }

  bool truthy() const;
  bool same_object(const Value& other) const;
  const char* type_name() const;

 private:
  std::variant<Undefined, None, bool, std::int64_t, double, std::shared_ptr<const std::string>,
               std::shared_ptr<const List>, std::shared_ptr<Dict>, std::shared_ptr<const Function>>
      held_;
  bool safe_ = false;
};

bool equal(const Value& a, const Value& b, int depth = 0);
/// a < b as Python orders them; fails on types that have no order.
bool less(const Value& a, const Value& b, int depth = 0);
/// str(value).
std::string to_text(const Value& value);
/// What a for loop visits: items, keys, characters; nothing of an undefined. Fails on the rest.
std::vector<Value> iterate(const Value& value);
std::vector<std::string> characters(std::string_view text);

struct JsonStyle {
  bool ensure_ascii = false, sort_keys = false, pretty = false;
  std::string indent;
  std::string item_separator = ", ", key_separator = ": ";
};
/// json.dumps(value, ...).
std::string to_json_text(const Value& value, const JsonStyle& style);

}  // namespace sparing::jinja
