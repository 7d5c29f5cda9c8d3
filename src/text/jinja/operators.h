#pragma once
// Python's operators on template values.

#include <array>
#include <string>

#include "text/jinja/library.h"

namespace sparing::jinja {

// All throw Failure naming the types that an operator does not take.

/// of[bounds[0]:bounds[1]:bounds[2]] of a list, tuple or string; None where a bound is not given.
Value slice_of(const Value& of, const std::array<Value, 3>& bounds, const Context& context);
/// not, - and +.
Value negate_value(const std::string& op, const Value& v);
/// == != < > <= >= in, not in.
bool compare_values(const std::string& op, const Value& left, const Value& right, const Context& context);
/// + - * / // % ** and ~.
Value combine_values(const std::string& op, const Value& left, const Value& right, const Context& context);

}  // namespace sparing::jinja
