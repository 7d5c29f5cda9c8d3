#pragma once
// Jinja's filters and tests, and the methods of Python's strings, dictionaries and lists that templates call.

#include <functional>
#include <string>

#include "text/jinja/value.h"

namespace sparing::jinja {

/// What the evaluator lends to the library: its budget.
struct Context {
  /// Counts work done or bytes made; throws Failure when the template's budget is spent.
  std::function<void(std::size_t)> charge;
};

/// Throw Failure naming what is unknown.
Value apply_filter(const std::string& name, const Value& value, const Arguments& arguments, const Context& context);
bool apply_test(const std::string& name, const Value& value, const Arguments& arguments);
bool contains(const Value& container, const Value& item);
/// A method of a string, dictionary or list, bound; an undefined value if there is none of that name.
Value method(const Value& of, const std::string& name, const Context& context);
/// value.name and value['name'] of dictionaries; an undefined value where absent. Fails on an undefined `of`.
Value attribute_of(const Value& of, const std::string& name, const Context& context);
Value item_of(const Value& of, const Value& key, const Context& context);

/// str.strip and its kin; `chars` null: white space.
std::string strip_text(const std::string& text, const std::string* chars, bool left, bool right);
/// Case of ASCII; text beyond it is refused by `what`.
std::string change_case(const std::string& text, const char* what);
std::string replace_text(const std::string& text, const std::string& from, const std::string& to, std::int64_t count,
                         const Context& context);

}  // namespace sparing::jinja
