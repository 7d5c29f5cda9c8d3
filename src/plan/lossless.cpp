#include "plan/lossless.h"

#include <algorithm>

#include "base/log.h"

namespace sparing {

Result<std::optional<Plan>> lossless_plan(const FitRequest& request, std::uint64_t most, const Assembler& assembler) {
  const bool free = request.methods.empty() && request.embed_methods.empty() && !request.bits && !request.group &&
                    !request.embed_bits && !request.embed_group && request.base.linear.params.empty() &&
                    request.base.overrides.empty() && request.budgets.speed <= 0;
  if (!free) return std::optional<Plan>();
  for (const Method* method : all_methods()) {
    if (!method->finds_rate) continue;
    ComposeRequest base = request.base;
    base.heal.reset();
    base.linear = base.embedding = Setting{std::string(method->name), {}};
    auto plan = compose_plan(base, assembler.checkpoint(), assembler.model_hash());
    if (!plan) continue;  // a model on no grid is nothing special
    const bool all = std::ranges::all_of(
        plan->sites, [&](const SiteChoice& site) { return site.method == method->name || site.method == kKeep; });
    SPARING_TRY(const auto bound, bind_plan(*plan, assembler.checkpoint(), assembler.model_hash()));
    state_budgets(*plan, request.budgets);
    SPARING_CHECK_OK(assembler.predict(*plan, bound));
    if (!all || plan->totals.at(std::string(kWeights)) > most) continue;
    log_info("[fit] the weights lie on a grid that fits: nothing is lost");
    plan->damage = 0;
    return std::optional(std::move(*plan));
  }
  return std::optional<Plan>();
}

Result<std::vector<SiteOption>> recoded_options(const SiteInfo& site, const Checkpoint& checkpoint, int threads) {
  std::vector<SiteOption> options;
  SPARING_TRY(const CodedWeight original, checkpoint.weight(site.name));
  const std::uint64_t as_it_is = stored_bytes(original);
  SPARING_TRY(const std::vector<float> values, site_values(checkpoint, site.name));
  const SiteProblem problem{
      .site = site.name, .rows = site.rows, .cols = site.cols, .weight = values, .threads = threads};
  for (const Method* method : all_methods()) {
    if (!method->finds_rate) continue;
    for (const char* scale : {"f16", "coded8"}) {
      SPARING_TRY(const Params given, Params::make(*method, {{"scale", scale}}));
      SPARING_TRY(auto found, method->detect(problem, given));
      if (!found) break;  // on no grid, however scales are stored
      SPARING_TRY(const Params params, Params::make(*method, *found));
      const auto bytes = predicted_bytes(*method, params, site.rows, site.cols);
      // What would lose more than rounding scales may is refused.
      if (!bytes || *bytes >= as_it_is || !method->apply(problem, params)) continue;
      options.push_back({{std::string(method->name), params.entries()}, *bytes});
    }
  }
  return options;
}

}  // namespace sparing
