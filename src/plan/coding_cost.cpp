#include "plan/coding_cost.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "base/units.h"
#include "methods/second_order.h"
#include "plan/database.h"

namespace sparing {
namespace {

constexpr std::uint64_t kProgram = 200 * kMiB;  // libtorch's libraries above all
// Bytes a weight, besides itself, what corrects it and what its codes decode to, all in f32: codes, their lines and
// what they are packed into; and of those that are coded at once.
constexpr std::uint64_t kCoded = 2, kAtOnce = 24;

bool corrects(const std::vector<BoundSite>& sites) {
  return std::ranges::any_of(sites, &BoundSite::corrects);
}

bool guides(const std::vector<BoundSite>& sites) {
  return std::ranges::any_of(sites, &BoundSite::guides);
}

/// What a site's coding costs in drafts of it, which are neither polished nor corrected. Fitted to layers of SmolLM2's
/// off-grid twin with gptq at 3 bits in groups of 32 on 2 cores (.36 s a draft; two passes of polish .4 s more where
/// scales are in f16, .65 to .77 s where they are coded; correction .21 s) and to the demo, which takes four fifths of
/// what these alone would give.
double times_a_draft(const BoundSite& site) {
  double times = 1;
  if (site.params.has("refine")) {
    const bool coded = site.params.has("scale") && site.params.choice("scale") != "f16";
    times += (coded ? 0.75 : 0.45) * static_cast<double>(site.params.integer("refine"));
  }
  if (site.corrects()) times += 0.45;
  return times;
}

/// What one token's way through the model costs beside coding, in multiply-adds.
struct TokenCost {
  double forward = 0;     ///< through the layers, once
  double statistics = 0;  ///< second moments of the inputs, half of a symmetric matrix each
  double correction = 0;  ///< the same between the damage so far and the inputs: of those, and of the stream they join
  double head = 0;        ///< once
};

TokenCost token_cost(const std::vector<BoundSite>& sites) {
  TokenCost cost;
  std::set<std::string> inputs;
  for (const BoundSite& site : sites) {
    const std::string& name = site.site.name;
    const std::string block = block_of(name), part = name.substr(std::min(name.size(), block.size() + 1));
    const bool layer = block != name;
    const double rows = static_cast<double>(site.site.rows), cols = static_cast<double>(site.site.cols);
    if (layer) cost.forward += rows * cols;
    if (site.site.role == SiteRole::head || site.site.tied) cost.head += rows * cols;
    if (part == "attn.o" || part == "mlp.down") cost.correction += rows * cols;
    const bool reads_norm = part.starts_with("attn.") && part != "attn.o",
               reads_second = part == "mlp.gate" || part == "mlp.up";
    if (!inputs.insert(reads_norm ? block + ".attn" : reads_second ? block + ".mlp" : name).second) continue;
    if (site.site.role == SiteRole::embedding && !site.site.tied) continue;
    cost.statistics += cols * cols / 2;
    cost.correction += cols * cols;
  }
  return cost;
}

}  // namespace

double coding_seconds(const Plan& plan, const std::vector<BoundSite>& sites, double seconds_per_token,
                      double seconds_per_unit) {
  if (plan.calibration.tokens == 0) return 0;
  double seconds = seconds_per_token * static_cast<double>(plan.calibration.tokens);
  const TokenCost cost = token_cost(sites);
  const double once = seconds / (cost.forward + cost.statistics);
  // The original model runs beside the coded one.
  if (corrects(sites)) seconds += once * (cost.forward + cost.correction);
  // Forward to its streams, then each block once more with its gradients by inputs and outputs.
  if (guides(sites)) seconds += once * (3 * cost.forward + 2 * cost.head);
  for (const BoundSite& site : sites) {
    if (site.method != nullptr) seconds += seconds_per_unit * coding_units(site.site) * times_a_draft(site);
  }
  return seconds;
}

std::uint64_t coding_peak(const Plan& plan, const std::vector<BoundSite>& sites, const ModelConfig& config,
                          std::uint64_t max_ram) {
  struct Block {
    std::uint64_t weights = 0, widest = 0, turned = 0;  ///< turned: the weight and the moments of one site
  };
  std::map<std::string, Block> blocks;
  for (const BoundSite& site : sites) {
    Block& block = blocks[block_of(site.site.name)];
    block.weights += static_cast<std::uint64_t>(site.site.rows * site.site.cols);
    block.widest = std::max(block.widest, static_cast<std::uint64_t>(site.site.cols));
    if (site.turns())
      block.turned =
          std::max(block.turned, static_cast<std::uint64_t>((site.site.rows + 2 * site.site.cols) * site.site.cols));
  }
  const auto hidden = static_cast<std::uint64_t>(config.hidden);
  std::uint64_t ffn = 0;
  for (const LayerConfig& layer : config.layers) ffn = std::max(ffn, static_cast<std::uint64_t>(layer.ffn));
  const std::uint64_t passes = corrects(sites) ? 2 : 1;
  std::uint64_t peak = 0;
  for (const auto& [name, block] : blocks) {
    // The stream, what its norm makes of it and, in a layer, the input of the last product.
    const std::uint64_t wide = 2 * hidden + (name == "embed" || name == "head" ? 0 : ffn);
    const std::uint64_t activations = 4 * static_cast<std::uint64_t>(plan.calibration.tokens) * passes * wide;
    const std::uint64_t besides = kProgram + block.weights * (4 * (1 + passes) + kCoded) +
                                  kAtOnce * std::min<std::uint64_t>(block.weights, 4 * kMiB) +
                                  4 * 3 * block.widest * block.widest + 4 * block.turned;
    const std::uint64_t all = besides + activations;
    peak = std::max(peak, max_ram > 0 ? std::min(all, std::max(max_ram, besides)) : all);
  }
  return peak;
}

double finished_share(const Plan& plan, const std::vector<BoundSite>& sites) {
  // What a whole correction takes off: SmolLM2's twin at 50 to 90 MB (32,768 tokens) was left with .73 to .8 of its
  // drafts' damage, a model of 1.1 B (4,096 tokens) with .97.
  constexpr double kGain = 0.24;
  double borne = 0, weights = 0;
  for (const BoundSite& site : sites) {
    if (!site.corrects()) continue;
    const double size = static_cast<double>(site.site.rows) * static_cast<double>(site.site.cols);
    borne += size * borne_out(plan.calibration.tokens, site.site.cols);
    weights += size;
  }
  return weights > 0 ? 1 - kGain * borne / weights : 1;
}

}  // namespace sparing
