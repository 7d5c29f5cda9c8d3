#include <fnmatch.h>

#include <algorithm>

#include "plan/fit.h"
#include "plan/heal_spec.h"
#include "plan/lossless.h"
#include "plan/measurements.h"
#include "plan/structure_spec.h"

namespace sparing {
namespace {

using Json = nlohmann::ordered_json;

bool matches(const SiteOverride& change, const SiteInfo& site) {
  return ::fnmatch(change.pattern.c_str(), site.name.c_str(), 0) == 0;
}

Result<OptionLimits> limits_of(const FitRequest& request, const SiteInfo& site) {
  OptionLimits limits;
  const bool linear = site.role == SiteRole::linear;
  const auto& methods = linear ? request.methods : request.embed_methods;
  if (!methods.empty()) limits.allowed["method"] = methods;
  const auto pin = [&](const char* name, const std::optional<std::int32_t>& value) {
    if (value) limits.allowed[name] = {std::to_string(*value)};
  };
  pin("bits", linear ? request.bits : request.embed_bits);
  pin("group", linear ? request.group : request.embed_group);
  if (linear) SPARING_CHECK_OK(narrow(limits, request.base.linear.params));
  for (const SiteOverride& change : request.base.overrides) {
    if (matches(change, site)) SPARING_CHECK_OK(narrow(limits, change.settings));
  }
  return limits;
}

/// What the final coding adds where the user has not said, and changes no bytes: making up for the damage of sites
/// coded before (stories260K at 158,625 bytes: KL .173 without, .131 at 0.5, .125 at 1), and tokens by what depends on
/// them.
const ParamList kFinalTouches = {{"correct", "1"}, {"guided", "true"}};

void add_final_touches(const OptionLimits& limits, std::vector<SiteOption>& options) {
  for (const auto& [touch, setting] : kFinalTouches) {
    if (limits.allowed.contains(touch)) continue;
    for (SiteOption& option : options) {
      for (auto& [name, value] : option.setting.params) {
        if (name == touch) value = setting;
      }
    }
  }
}

}  // namespace

Result<std::vector<SurveyedSite>> list_options(const FitRequest& request, const Checkpoint& checkpoint, int threads) {
  const std::vector<SiteInfo> sites = weight_sites(checkpoint);
  for (const SiteOverride& change : request.base.overrides) {
    if (std::ranges::none_of(sites, [&](const SiteInfo& site) { return matches(change, site); })) {
      return usage_error("[fit] --site '" + change.pattern + "' matches no site ('sparing inspect' lists them)");
    }
  }
  std::vector<SurveyedSite> listed;
  for (const SiteInfo& site : sites) {
    SPARING_TRY(const OptionLimits limits, limits_of(request, site));
    SPARING_TRY(const CodedWeight original, checkpoint.weight(site.name));
    SPARING_TRY(auto options, site_options(site, limits, stored_bytes(original)));
    add_final_touches(limits, options);
    if (limits.allowed.empty() && limits.excluded_methods.empty()) {
      SPARING_TRY(auto recoded, recoded_options(site, checkpoint, threads));
      std::ranges::move(recoded, std::back_inserter(options));
      std::ranges::stable_sort(options, {}, &SiteOption::bytes);
    }
    checkpoint.forget(site.name);
    listed.push_back({site, std::move(options), {}});
  }
  return listed;
}

Plan plan_with(const FitRequest& request, const Assembler& assembler, const std::vector<SurveyedSite>& sites,
               const std::vector<SiteOption>& chosen) {
  Plan plan;
  plan.model = assembler.original().path().filename().string();
  plan.model_hash = assembler.model_hash();
  plan.seed = request.base.seed;
  plan.calibration = request.base.calibration;
  plan.structure = request.base.structure;
  plan.heal = request.base.heal;
  for (std::size_t i = 0; i < sites.size(); ++i) {
    plan.sites.push_back(
        {sites[i].site.name, "weight", chosen[i].setting.method, chosen[i].setting.params, {}, std::nullopt});
  }
  return plan;
}

std::string fit_key(const FitRequest& request, const std::string& model_hash) {
  Json key = {{"weights", request.budgets.weights},
              {"ram", request.budgets.ram},
              {"context", request.budgets.context},
              {"speed", request.budgets.speed},
              {"time", request.budgets.time},
              {"model", model_hash},
              {"methods", request.methods},
              {"embed_methods", request.embed_methods},
              {"bits", request.bits.value_or(0)},
              {"group", request.group.value_or(-1)},
              {"embed_bits", request.embed_bits.value_or(0)},
              {"embed_group", request.embed_group.value_or(-1)},
              {"generations", request.generations},
              {"linear", request.base.linear.params},
              {"seed", request.base.seed},
              {"tokens", request.base.calibration.tokens},
              {"length", request.base.calibration.length},
              {"self", request.base.calibration.self}};
  if (request.structure_method) key["structure_method"] = *request.structure_method;
  if (request.base.structure) key["structure"] = structure_recipe(*request.base.structure);
  if (request.base.heal) key["heal"] = heal_recipe(*request.base.heal);
  for (const SiteOverride& change : request.base.overrides) {
    key["overrides"].push_back({{"pattern", change.pattern}, {"settings", change.settings}});
  }
  for (const CalibrationFile& file : request.base.calibration.files) key["texts"].push_back(file.sha256);
  return "fit-" + short_hash(key.dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace sparing
