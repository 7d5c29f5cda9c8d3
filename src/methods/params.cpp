// Parameters of a method: parsed from name=value, checked against its ParamSpecs, printed back.

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/suggest.h"
#include "methods/method.h"

namespace sparing {
namespace {

std::string number(double value) {
  char text[40];
  const auto end = std::to_chars(text, text + sizeof text, value);
  return {text, end.ptr};
}

std::string where(const Method& method, std::string_view name, std::string_view value) {
  return "[" + std::string(method.name) + "] " + std::string(name) + "=" + std::string(value);
}

Result<double> parse(const Method& method, const ParamSpec& spec, const std::string& text) {
  if (spec.type == ParamSpec::Type::choice) {
    for (std::size_t i = 0; i < spec.choices.size(); ++i)
      if (spec.choices[i] == text) return static_cast<double>(i);
    return usage_error(where(method, spec.name, text) + " is not one of its values" + suggest(text, spec.choices));
  }
  if (spec.type == ParamSpec::Type::boolean) {
    if (text == "true" || text == "1" || text == "yes" || text == "on") return 1.0;
    if (text == "false" || text == "0" || text == "no" || text == "off") return 0.0;
    return usage_error(where(method, spec.name, text) + " is neither true nor false");
  }
  double value = 0;
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, value);
  if (text.empty() || parsed.ec != std::errc() || parsed.ptr != end || !std::isfinite(value))
    return usage_error(where(method, spec.name, text) + " is not a number");
  if (spec.type == ParamSpec::Type::integer && value != std::floor(value))
    return usage_error(where(method, spec.name, text) + " is not a whole number");
  if (value < spec.min || value > spec.max)
    return usage_error(where(method, spec.name, text) + " is out of range: from " + number(spec.min) + " to " +
                       number(spec.max));
  return value;
}

std::size_t index_of(const Method* method, std::string_view name) {
  for (std::size_t i = 0; i < method->params.size(); ++i)
    if (method->params[i].name == name) return i;
  assert(false && "a method asks for a parameter that it has not declared");
  return 0;
}

}  // namespace

Result<Params> Params::make(const Method& method, const std::vector<std::pair<std::string, std::string>>& given) {
  Params params;
  params.method_ = &method;
  std::vector<std::string_view> names;
  for (const ParamSpec& spec : method.params) {
    params.values_.push_back(spec.default_value);
    names.push_back(spec.name);
  }
  std::vector<bool> seen(names.size());
  for (const auto& [name, text] : given) {
    std::size_t i = 0;
    while (i < names.size() && names[i] != name) ++i;
    if (i == names.size())
      return usage_error("[" + std::string(method.name) + "] there is no parameter '" + name + "'" +
                         suggest(name, names));
    if (seen[i]) return usage_error(where(method, name, text) + " is given twice: keep one");
    seen[i] = true;
    SPARING_TRY(params.values_[i], parse(method, method.params[i], text));
  }
  return params;
}

bool has_param(const Method& method, std::string_view name) {
  return std::ranges::any_of(method.params, [&](const ParamSpec& spec) { return spec.name == name; });
}
bool Params::has(std::string_view name) const {
  return has_param(*method_, name);
}
double Params::real(std::string_view name) const {
  return values_[index_of(method_, name)];
}
std::int64_t Params::integer(std::string_view name) const {
  return static_cast<std::int64_t>(real(name));
}
bool Params::flag(std::string_view name) const {
  return real(name) != 0;
}
std::string_view Params::choice(std::string_view name) const {
  const std::size_t i = index_of(method_, name);
  return method_->params[i].choices[static_cast<std::size_t>(values_[i])];
}

std::vector<std::pair<std::string, std::string>> Params::entries() const {
  std::vector<std::pair<std::string, std::string>> entries;
  for (std::size_t i = 0; i < values_.size(); ++i) {
    const ParamSpec& spec = method_->params[i];
    std::string text = number(values_[i]);
    if (spec.type == ParamSpec::Type::boolean) text = values_[i] != 0 ? "true" : "false";
    if (spec.type == ParamSpec::Type::choice) text = spec.choices[static_cast<std::size_t>(values_[i])];
    entries.emplace_back(spec.name, text);
  }
  return entries;
}

}  // namespace sparing
