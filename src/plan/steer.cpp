#include "plan/steer.h"

#include <algorithm>
#include <string>

#include "base/log.h"
#include "base/progress.h"
#include "plan/sites.h"

namespace sparing {
namespace {

constexpr double kSteps[] = {1.6, 1.25};  ///< of a group's weight, one round of all groups each
constexpr int kMostSteps = 3;             ///< of one group in one direction and round
constexpr std::size_t kDepths = 3;

}  // namespace

PriceTable weighted(const PriceTable& table, const std::vector<double>& weights) {
  PriceTable result = table;
  for (std::size_t i = 0; i < result.size(); ++i) {
    for (Priced& option : result[i]) option.damage *= weights[i];
  }
  return result;
}

std::vector<std::vector<std::size_t>> steering_groups(const std::vector<SurveyedSite>& sites,
                                                      const SiteClasses& classes) {
  std::vector<std::vector<std::size_t>> groups(classes.names.size());
  for (std::size_t i = 0; i < sites.size(); ++i) groups[classes.of[i]].push_back(i);
  std::vector<std::string> blocks;
  const auto is_of_block = [&](std::size_t i) { return block_of(sites[i].site.name) != sites[i].site.name; };
  for (std::size_t i = 0; i < sites.size(); ++i) {
    const std::string block = block_of(sites[i].site.name);
    if (is_of_block(i) && std::ranges::find(blocks, block) == blocks.end()) blocks.push_back(block);
  }
  if (blocks.size() < kDepths) return groups;
  std::vector<std::vector<std::size_t>> depths(kDepths);
  for (std::size_t i = 0; i < sites.size(); ++i) {
    if (!is_of_block(i)) continue;
    const auto at = static_cast<std::size_t>(std::ranges::find(blocks, block_of(sites[i].site.name)) - blocks.begin());
    depths[at * kDepths / blocks.size()].push_back(i);
  }
  groups.insert(groups.end(), depths.begin(), depths.end());
  return groups;
}

void Steered::add_up_to(const PriceTable& table, double whole) {
  const double sum = damage_of(weighted(table, weights), choice);
  for (double& weight : weights) weight *= whole / std::max(sum, 1e-12);
}

Result<Steered> steer(const Steering& steering) {
  Steered best;
  enum class Found { better, same, worse };
  const auto attempt = [&](const std::vector<double>& weights) -> Result<Found> {
    SPARING_TRY(const Choice choice, steering.allocate(weighted(steering.table, weights)));
    if (choice == best.choice) return Found::same;
    SPARING_TRY(const double damage, steering.damage(choice));
    if (!best.choice.empty() && damage >= best.damage) return Found::worse;
    best.weights = weights;
    best.choice = choice;
    best.damage = damage;
    return Found::better;
  };
  const std::size_t rounds = std::size(kSteps);
  Progress progress("weighing kinds of sites", static_cast<std::int64_t>(rounds * steering.groups.size()), "kind");
  for (const auto& weights : steering.beginnings) {
    SPARING_TRY([[maybe_unused]] const Found found, attempt(weights));
  }
  best.start = best.damage;
  for (const double step : kSteps) {
    for (const auto& group : steering.groups) {
      const auto walk = [&](double factor) -> Result<bool> {
        bool moved = false;
        std::vector<double> weights = best.weights;
        for (int n = 0; n < kMostSteps; ++n) {
          for (const std::size_t site : group) weights[site] *= factor;
          SPARING_TRY(const Found found, attempt(weights));
          if (found == Found::worse) break;
          moved = moved || found == Found::better;
        }
        return moved;
      };
      SPARING_TRY(const bool up, walk(step));
      if (!up) {
        SPARING_TRY([[maybe_unused]] const bool down, walk(1 / step));
      }
      progress.advance(1);
    }
  }
  progress.finish();
  log_debug("[fit] weighing kinds of sites: KL " + std::to_string(best.start) + " -> " + std::to_string(best.damage));
  return best;
}

}  // namespace sparing
