// The table of methods. methods.def is the only list; CMake reads it too.

#include <algorithm>
#include <array>
#include <string>

#include "base/suggest.h"
#include "methods/method.h"

namespace sparing {

#define METHOD(kind, id) extern const Method id##_method;
#include "methods/methods.def"
#undef METHOD

namespace {

const std::array kMethods = {
#define METHOD(kind, id) &id##_method,
#include "methods/methods.def"
#undef METHOD
};

}  // namespace

std::string_view name_of(MethodKind kind) {
  switch (kind) {
    case MethodKind::weights:
      return "weights";
    case MethodKind::structure:
      return "structure";
    case MethodKind::kv:
      return "kv";
    case MethodKind::tokens:
      return "tokens";
    case MethodKind::updates:
      return "updates";
    case MethodKind::data:
      return "data";
    case MethodKind::search:
      return "search";
    case MethodKind::evaluation:
      return "evaluation";
  }
  return "?";
}

std::span<const Method* const> all_methods() {
  return kMethods;
}

Result<const Method*> find_method(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Method* m : kMethods) {
    if (m->name == name) return m;
    names.push_back(m->name);
  }
  return usage_error("[method] there is no method '" + std::string(name) + "'" + suggest(name, names));
}

}  // namespace sparing
