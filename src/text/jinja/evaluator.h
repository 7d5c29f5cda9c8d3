#pragma once
#include <ctime>
#include <string>

#include "text/jinja/ast.h"

namespace sparing::jinja {

/// Renders with these variables. Throws Failure, also when the template's budget of work, depth or output is spent.
/// `now`: what strftime_now tells (local time).
std::string render(const Node& root, const Dict& variables, std::time_t now);

}  // namespace sparing::jinja
