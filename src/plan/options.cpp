#include "plan/options.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "codecs/transform.h"

namespace sparing {
namespace {

constexpr std::int32_t kLeastBlock = 32;

using Axis = std::pair<std::string, std::vector<std::string>>;

/// Rates that a solver chooses among, and the ways to store what belongs to them.
const std::vector<Axis>& free_axes() {
  static const std::vector<Axis> axes = {
      {"bits", {"2", "3", "4", "5", "6", "7", "8"}},
      {"group", {"32", "64", "128", "0"}},
      {"symmetric", {"false", "true"}},
      {"zero", {"integer", "min"}},
      {"scale", {"f16", "coded6", "coded8"}},
      {"basis", {"none", "hadamard"}},
  };
  return axes;
}

std::optional<std::int64_t> whole(const std::string& text) {
  std::int64_t value = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  if (read.ec != std::errc() || read.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

Result<std::vector<std::string>> values_of(const std::string& name, const std::string& text) {
  if (const auto dots = text.find(".."); dots != std::string::npos) {
    const auto low = whole(text.substr(0, dots)), high = whole(text.substr(dots + 2));
    if (!low || !high || *low > *high || *high - *low > 1000) {
      return usage_error("[fit] " + name + "=" + text + ": write a range of whole numbers, as in 3..6");
    }
    std::vector<std::string> values;
    for (std::int64_t v = *low; v <= *high; ++v) values.push_back(std::to_string(v));
    return values;
  }
  std::vector<std::string> values;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('|', begin), text.size());
    if (end == begin) return usage_error("[fit] " + name + "=" + text + ": a value is empty");
    values.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return values;
}

/// Methods that a rate describes, that are done with a site once they have coded it, and that have what they need.
bool serves(const Method& method, const SiteInfo& site) {
  if (method.kind != MethodKind::weights || method.codings == nullptr || method.apply == nullptr) return false;
  if (method.schedule != nullptr || !has_param(method, "bits")) return false;
  const bool calibrates = method.traits.calibration != "none", blind = site.role == SiteRole::embedding && !site.tied;
  return !calibrates || !blind;
}

/// Every method that is allowed is looked at in full, so only the quick ones are by default. Rounding is worth that
/// only where there is no second-order information, or where lookups count too.
bool by_default(const Method& method, const SiteInfo& site) {
  if (!serves(method, site)) return false;
  return method.name == "gptq" || (method.name == "rtn" && site.role == SiteRole::embedding);
}

Result<std::vector<const Method*>> methods_for(const SiteInfo& site, const OptionLimits& limits) {
  std::vector<const Method*> methods;
  if (const auto named = limits.allowed.find("method"); named != limits.allowed.end()) {
    for (const std::string& name : named->second) {
      if (name == kKeep) continue;
      SPARING_TRY(const Method* method, find_method(name));
      methods.push_back(method);
    }
  } else {
    for (const Method* method : all_methods()) {
      if (by_default(*method, site)) methods.push_back(method);
    }
  }
  std::erase_if(methods, [&](const Method* m) { return std::ranges::count(limits.excluded_methods, m->name) > 0; });
  return methods;
}

/// All settings of one method, in the order of the axes.
std::vector<ParamList> settings_of(const Method& method, const SiteInfo& site, const OptionLimits& limits) {
  std::vector<ParamList> settings(1);
  const auto take = [&](const std::string& name, const std::vector<std::string>& values) {
    std::vector<ParamList> longer;
    for (const ParamList& begun : settings) {
      for (const std::string& value : values) {
        longer.push_back(begun);
        longer.back().emplace_back(name, value);
      }
    }
    settings = std::move(longer);
  };
  for (const auto& [name, values] : free_axes()) {
    if (!has_param(method, name)) continue;
    const auto limit = limits.allowed.find(name);
    std::vector<std::string> offered = limit == limits.allowed.end() ? values : limit->second;
    // One setting for every shape: a group wider than a row is the row.
    if (name == "group") {
      for (std::string& value : offered) {
        if (const auto group = whole(value); group && *group >= site.cols) value.assign(1, '0');
      }
    }
    // Small blocks have little to share out.
    if (name == "basis" && limit == limits.allowed.end() && hadamard_block(site.cols) < kLeastBlock)
      std::erase(offered, "hadamard");
    take(name, offered);
  }
  for (const auto& [name, values] : limits.allowed) {
    const bool axis = std::ranges::any_of(free_axes(), [&](const Axis& a) { return a.first == name; });
    if (name != "method" && !axis && has_param(method, name)) take(name, values);
  }
  return settings;
}

}  // namespace

Status narrow(OptionLimits& limits, const ParamList& settings) {
  for (const auto& [name, text] : settings) {
    if (name == "method" && text.starts_with('!')) {
      SPARING_TRY(const auto names, values_of(name, text.substr(1)));
      for (const std::string& excluded : names) {
        if (excluded != kKeep) SPARING_CHECK_OK(find_method(excluded));
        limits.excluded_methods.push_back(excluded);
      }
      continue;
    }
    SPARING_TRY(limits.allowed[name], values_of(name, text));
  }
  return {};
}

Result<std::vector<SiteOption>> site_options(const SiteInfo& site, const OptionLimits& limits,
                                             std::uint64_t kept_bytes) {
  std::vector<SiteOption> options;
  const auto named = limits.allowed.find("method");
  const bool keeps = named == limits.allowed.end() ? kept_bytes > 0 : std::ranges::count(named->second, kKeep) > 0;
  if (keeps && std::ranges::count(limits.excluded_methods, kKeep) == 0) {
    options.push_back({{std::string(kKeep), {}}, kept_bytes});
  }
  SPARING_TRY(const auto methods, methods_for(site, limits));
  std::optional<Error> refusal;
  for (const auto& [name, values] : limits.allowed) {
    const auto knows = [&](const Method* method) { return has_param(*method, name); };
    if (name != "method" && !methods.empty() && std::ranges::none_of(methods, knows)) {
      return usage_error("[fit] site " + site.name + ": no method offered there has a parameter '" + name + "'");
    }
  }
  for (const Method* method : methods) {
    std::set<ParamList> seen;
    for (const ParamList& given : settings_of(*method, site, limits)) {
      auto params = Params::make(*method, given);
      if (!params) return std::move(params).error();
      // A constant zero stores none, so what kind it would be is no choice.
      if (has_param(*method, "symmetric") && has_param(*method, "zero") && params->flag("symmetric") &&
          params->choice("zero") != "integer") {
        continue;
      }
      ParamList complete = params->entries();
      if (!seen.insert(complete).second) continue;
      const auto bytes = predicted_bytes(*method, *params, site.rows, site.cols);
      if (!bytes) {
        refusal = bytes.error();
        continue;
      }
      options.push_back({{std::string(method->name), std::move(complete)}, *bytes});
    }
  }
  if (options.empty()) {
    if (refusal) return std::move(*refusal);
    return usage_error("[fit] site " + site.name + ": no method is left for it: allow one with --site or --method");
  }
  std::ranges::stable_sort(options, {}, &SiteOption::bytes);
  return options;
}

}  // namespace sparing
