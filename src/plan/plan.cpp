#include "plan/plan.h"

#include <nlohmann/json.hpp>

#include "base/sha256.h"
#include "base/units.h"
#include "plan/heal_spec.h"
#include "plan/plan_fields.h"
#include "plan/structure_spec.h"

namespace sparing {
namespace {

using Json = nlohmann::ordered_json;

Json texts_of(const ParamList& params) {
  Json object = Json::object();
  for (const auto& [name, value] : params) object[name] = value;
  return object;
}

}  // namespace

std::string recipe_json(const Plan& plan) {
  // Sites that share a method and parameters are listed under one choice: a recipe of a few hundred bytes, not of 50
  // kB.
  Json choices = Json::array();
  std::map<std::string, std::size_t> index;
  for (const SiteChoice& site : plan.sites) {
    Json choice = {{"kind", site.kind}, {"method", site.method}, {"params", texts_of(site.params)}};
    const auto [found, added] = index.try_emplace(choice.dump(), choices.size());
    if (added) {
      choice["sites"] = Json::array();
      choices.push_back(std::move(choice));
    }
    choices[found->second]["sites"].push_back(site.site);
  }
  Json recipe = {{"version", kPlanVersion}, {"model_hash", plan.model_hash}, {"seed", plan.seed}};
  if (plan.calibration.tokens > 0) {
    recipe["calibration"] = text_recipe(plan.calibration);
  }
  if (plan.structure) recipe["structure"] = structure_recipe(*plan.structure);
  if (plan.heal) recipe["heal"] = heal_recipe(*plan.heal);
  if (plan.activation_bits != 0) recipe["activation_bits"] = plan.activation_bits;
  recipe["choices"] = std::move(choices);
  return recipe.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string plan_hash(const Plan& plan) {
  const std::string recipe = recipe_json(plan);
  return sha256_hex(std::as_bytes(std::span(recipe)));
}

Status check_budgets(const Plan& plan) {
  for (const auto& [resource, limit] : plan.budgets) {
    const auto total = plan.totals.find(resource);
    if (total == plan.totals.end()) {
      return input_error("[plan] budget '" + resource + "': no total is predicted for it; give it with 'sparing plan'");
    }
    if (total->second <= limit) continue;
    if (resource == kTokenTime) {
      return resource_error("[plan] speed: a token takes " + format_count(total->second / 1000) +
                            " microseconds, over the budget of " + format_count(limit / 1000) +
                            ": choose faster codings somewhere or ask for less");
    }
    return resource_error("[plan] " + resource + ": the sites add up to " + format_count(total->second) +
                          " bytes with " + (resource == kRam ? "what running takes" : "metadata") +
                          ", over the budget of " + format_count(limit) +
                          ": choose fewer bits somewhere or raise the budget");
  }
  return {};
}

std::uint64_t site_cost(const Plan& plan, std::string_view resource) {
  std::uint64_t sum = 0;
  for (const SiteChoice& site : plan.sites) {
    if (const auto cost = site.costs.find(resource); cost != site.costs.end()) sum += cost->second;
  }
  return sum;
}

std::string block_of(std::string_view site) {
  constexpr std::string_view prefix = "layers.";
  if (!site.starts_with(prefix)) return std::string(site);
  return std::string(site.substr(0, site.find('.', prefix.size())));
}

}  // namespace sparing
