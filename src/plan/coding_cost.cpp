#include "plan/coding_cost.h"

#include <algorithm>
#include <map>

#include "base/units.h"
#include "plan/database.h"

namespace sparing {
namespace {

constexpr std::uint64_t kProgram = 200 * kMiB;  // libtorch's libraries above all

bool corrects(const std::vector<BoundSite>& sites) {
  return std::ranges::any_of(sites, [](const BoundSite& site) {
    return site.method != nullptr && site.method->corrects != nullptr && site.method->corrects(site.params);
  });
}

}  // namespace

double coding_seconds(const Plan& plan, const std::vector<BoundSite>& sites, double seconds_per_token,
                      double seconds_per_unit) {
  if (plan.calibration.tokens == 0) return 0;
  // With correction the original model runs beside the coded one.
  double seconds = seconds_per_token * static_cast<double>(plan.calibration.tokens) * (corrects(sites) ? 2 : 1);
  for (const BoundSite& site : sites) {
    if (site.method == nullptr) continue;
    const auto polishes = [](const ParamSpec& spec) { return spec.name == "refine"; };
    const bool refines = std::ranges::any_of(site.method->params, polishes);
    seconds += seconds_per_unit * coding_units(site.site, refines ? site.params.integer("refine") : 0);
  }
  return seconds;
}

std::uint64_t coding_peak(const Plan& plan, const std::vector<BoundSite>& sites, const ModelConfig& config,
                          std::uint64_t max_ram) {
  std::map<std::string, std::uint64_t> weights;
  std::uint64_t largest = 0, widest = 0;
  for (const BoundSite& site : sites) {
    std::uint64_t& sum = weights[block_of(site.site.name)];
    sum += static_cast<std::uint64_t>(site.site.rows * site.site.cols);
    largest = std::max(largest, sum);
    widest = std::max(widest, static_cast<std::uint64_t>(site.site.cols));
  }
  std::uint64_t ffn = 0;
  for (const LayerConfig& layer : config.layers) ffn = std::max(ffn, static_cast<std::uint64_t>(layer.ffn));
  const std::uint64_t passes = corrects(sites) ? 2 : 1;
  const std::uint64_t activations = 4 * static_cast<std::uint64_t>(plan.calibration.tokens) * passes *
                                    (2 * static_cast<std::uint64_t>(config.hidden) + 2 * ffn);
  const std::uint64_t besides = kProgram + 4 * (2 * largest + 3 * widest * widest);
  return max_ram > 0 ? std::min(besides + activations, std::max(max_ram, besides)) : besides + activations;
}

}  // namespace sparing
