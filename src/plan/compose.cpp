#include "plan/compose.h"

#include <fnmatch.h>

#include <algorithm>
#include <charconv>

#include "plan/execute.h"

namespace sparing {
namespace {

void set(ParamList& params, const std::string& name, const std::string& value) {
  const auto found = std::ranges::find(params, name, &std::pair<std::string, std::string>::first);
  if (found == params.end()) {
    params.emplace_back(name, value);
  } else {
    found->second = value;
  }
}

/// Another method for a site keeps those parameters of the old setting that it knows too (bits, group).
Status change_method(SiteChoice& choice, const std::string& method) {
  choice.method = method;
  if (method == kKeep) {
    choice.params.clear();
    return {};
  }
  SPARING_TRY(const Method* found, find_method(method));
  std::erase_if(choice.params, [&](const auto& param) { return !has_param(*found, param.first); });
  return {};
}

/// One setting for every shape: a group wider than a row is the row.
void fit_group(ParamList& params, std::int64_t cols) {
  for (auto& [name, value] : params) {
    if (name != "group") continue;
    std::int64_t group = 0;
    const auto read = std::from_chars(value.data(), value.data() + value.size(), group);
    if (read.ec == std::errc() && read.ptr == value.data() + value.size() && group > cols) value = std::to_string(cols);
  }
}

Status apply_override(SiteChoice& choice, const SiteOverride& change) {
  for (const auto& [name, value] : change.settings) {
    if (name == "method") SPARING_CHECK_OK(change_method(choice, value));
  }
  for (const auto& [name, value] : change.settings) {
    if (name != "method") set(choice.params, name, value);
  }
  return {};
}

/// Lets methods whose parameters follow from the weight find them. Sites that they cannot code, or not in fewer bytes
/// than the source takes, are kept.
Status detect_params(Plan& plan, const Checkpoint& checkpoint) {
  std::int64_t asked = 0, found = 0;
  std::string last;
  for (SiteChoice& choice : plan.sites) {
    if (choice.method == kKeep) continue;
    SPARING_TRY(const Method* method, find_method(choice.method));
    if (method->detect == nullptr) continue;
    SPARING_TRY(const Params given, Params::make(*method, choice.params));
    if (!method->detects(given)) continue;
    ++asked;
    last = choice.method;
    SPARING_TRY(const CodedWeight original, checkpoint.weight(choice.site));
    const std::uint64_t as_it_is = stored_bytes(original);
    SPARING_TRY(const std::vector<float> values, site_values(checkpoint, choice.site));
    SiteProblem problem;
    problem.site = choice.site;
    problem.rows = original.rows;
    problem.cols = original.cols;
    problem.weight = values;
    SPARING_TRY(auto detected, method->detect(problem, given));
    if (detected) {
      ++found;
      SPARING_TRY(const Params params, Params::make(*method, *detected));
      SPARING_TRY(const std::uint64_t bytes, predicted_bytes(*method, params, problem.rows, problem.cols));
      if (method->finds_rate && bytes > as_it_is) detected.reset();
    }
    if (detected) {
      choice.params = std::move(*detected);
    } else {
      choice.method = kKeep;
      choice.params.clear();
    }
  }
  if (asked > 0 && found == 0)
    return input_error("[" + last + "] none of " + std::to_string(asked) +
                       " weights can be coded by it: take another method ('sparing methods' lists them)");
  return {};
}

/// Nothing, or next to it, is lost but what 8-bit activations would lose.
bool is_recoded(const std::vector<BoundSite>& sites) {
  const auto recodes = [](const BoundSite& site) { return site.method != nullptr && site.method->finds_rate; };
  const auto kept = [](const BoundSite& site) {
    if (site.method == nullptr) return true;
    return site.site.role != SiteRole::linear && has_param(*site.method, "bits") && site.params.integer("bits") == 8;
  };
  return std::ranges::any_of(sites, recodes) &&
         std::ranges::all_of(sites, [&](const BoundSite& site) { return recodes(site) || kept(site); });
}

}  // namespace

Result<std::pair<std::string, std::string>> parse_param(std::string_view text) {
  const auto equals = text.find('=');
  if (equals == std::string_view::npos || equals == 0 || equals + 1 == text.size()) {
    return usage_error("[compress] '" + std::string(text) + "': write name=value");
  }
  return std::pair(std::string(text.substr(0, equals)), std::string(text.substr(equals + 1)));
}

Result<SiteOverride> parse_override(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0 || colon + 1 == text.size()) {
    return usage_error("[compress] --site '" + std::string(text) +
                       "': write PATTERN:name=value[,name=value], as in 'layers.0.*:bits=8'");
  }
  SiteOverride change{std::string(text.substr(0, colon)), {}};
  std::string_view rest = text.substr(colon + 1);
  while (true) {
    const auto comma = rest.find(',');
    SPARING_TRY(auto setting, parse_param(rest.substr(0, comma)));
    change.settings.push_back(std::move(setting));
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  return change;
}

Result<Plan> compose_plan(const ComposeRequest& request, const Checkpoint& checkpoint, const std::string& model_hash) {
  Plan plan;
  plan.model = checkpoint.path().filename().string();
  plan.model_hash = model_hash;
  plan.seed = request.seed;
  plan.calibration = request.calibration;
  plan.structure = request.structure;
  plan.heal = request.heal;
  for (const SiteInfo& site : weight_sites(checkpoint)) {
    const Setting& setting = site.role == SiteRole::linear ? request.linear : request.embedding;
    plan.sites.push_back({site.name, "weight", setting.method, setting.params, {}, std::nullopt});
    fit_group(plan.sites.back().params, site.cols);
  }
  for (const SiteOverride& change : request.overrides) {
    bool matched = false;
    for (SiteChoice& choice : plan.sites) {
      if (::fnmatch(change.pattern.c_str(), choice.site.c_str(), 0) != 0) continue;
      matched = true;
      SPARING_CHECK_OK(apply_override(choice, change));
    }
    if (!matched) {
      return usage_error("[compress] --site '" + change.pattern +
                         "' matches no site ('sparing inspect' lists them; 'layers.*.mlp.down' is a pattern)");
    }
  }
  SPARING_CHECK_OK(detect_params(plan, checkpoint));
  SPARING_TRY(const auto bound, bind_plan(plan, checkpoint, model_hash));
  if (is_recoded(bound)) plan.activation_bits = 16;
  if (std::ranges::none_of(bound, &BoundSite::calibrates)) plan.calibration = {};
  return plan;
}

}  // namespace sparing
