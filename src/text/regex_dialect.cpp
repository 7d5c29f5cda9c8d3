#include "text/regex_dialect.h"

#include <cstdio>

namespace sparing {
namespace {

struct NewRun {
  const char* category;
  char32_t first, last;
};
constexpr NewRun kNew[] = {
#include "text/unicode_since_14.inc"
};

/// The new characters of "L" or "Lu" as members of a class; empty for anything else.
std::string new_members(std::string_view category) {
  std::string out;
  for (const NewRun& run : kNew) {
    const std::string_view name = run.category;
    if (name != category && (category.size() != 1 || name[0] != category[0])) continue;
    char text[40];
    std::snprintf(text, sizeof text, "\\x{%X}-\\x{%X}", static_cast<unsigned>(run.first),
                  static_cast<unsigned>(run.last));
    out += text;
  }
  return out;
}

struct Property {
  std::string_view name;
  bool negated = false;
  std::size_t length = 0;  ///< of the whole escape
};
/// The \p or \P escape at the beginning of `rest`, or one of length 0.
Property property_at(std::string_view rest) {
  Property p;
  if (rest.size() < 3 || rest[0] != '\\' || (rest[1] != 'p' && rest[1] != 'P')) return p;
  p.negated = rest[1] == 'P';
  if (rest[2] != '{') {
    p.name = rest.substr(2, 1);
    p.length = 3;
    return p;
  }
  const std::size_t end = rest.find('}');
  if (end == std::string_view::npos) return p;
  p.name = rest.substr(3, end - 3);
  p.length = end + 1;
  if (p.name.starts_with('^')) {
    p.name.remove_prefix(1);
    p.negated = !p.negated;
  }
  return p;
}

}  // namespace

Result<std::string> to_pcre2(std::string_view pattern) {
  std::string out;
  bool inside = false;
  for (std::size_t i = 0; i < pattern.size();) {
    const std::string_view rest = pattern.substr(i);
    std::size_t taken = 1;
    if (const Property p = property_at(rest); p.length > 0) {
      const std::string more = new_members(p.name);
      const std::string escape(rest.substr(0, p.length));
      if (more.empty() || (inside && p.negated)) {
        out += escape;
      } else if (inside) {
        out += escape + more;
      } else {
        out += (p.negated ? "[^\\p{" : "[\\p{") + std::string(p.name) + "}" + more + "]";
      }
      i += p.length;
      continue;
    }
    if (rest[0] == '\\') {
      taken = 2;
    } else if (!inside && rest[0] == '[') {
      inside = true;
      if (rest.substr(taken, 1) == "^") ++taken;
      if (rest.substr(taken, 1) == "]") ++taken;
    } else if (inside && rest[0] == ']') {
      inside = false;
    } else if (inside && rest.starts_with("[:")) {
      const std::size_t end = rest.find(":]");
      if (end != std::string_view::npos) taken = end + 2;
    } else if (inside && (rest[0] == '[' || rest.starts_with("&&"))) {
      return input_error("[tokenizer] regular expression '" + std::string(pattern.substr(0, 200)) +
                         "': classes within classes and && are not supported; convert the tokenizer to plain classes");
    }
    out += rest.substr(0, taken);
    i += taken;
  }
  return out;
}

}  // namespace sparing
