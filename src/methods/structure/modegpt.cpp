// MoDeGPT (arXiv:2408.09632), its part for feed-forward layers: the neurons with the highest ridge leverage stay, and
// the matrix after them is fitted anew (Nystroem's approximation).

#include <algorithm>
#include <numeric>

#include "methods/method.h"

namespace sparing {
namespace {

Result<math::GroupRanking> rank(const StructureProblem& problem, const Params& params) {
  ThreadPool pool(problem.threads);
  math::GroupedWeight weight = problem.weight;
  weight.damping = params.real("damping");
  SPARING_TRY(const auto scores, math::leverage_scores(weight, params.real("ridge"), pool));
  std::vector<std::int32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, {}, [&](std::int32_t group) { return scores[static_cast<std::size_t>(group)]; });
  return math::remove_groups(weight, problem.most, order, pool);
}

}  // namespace

extern const Method modegpt_method;
const Method modegpt_method{
    .name = "modegpt",
    .summary = "Keeps the channels and heads with the highest ridge leverage and fits what follows them anew",
    .paper = "arXiv:2408.09632",
    .kind = MethodKind::structure,
    .traits = {.compressed = "weights",
               .deploy = "pruning",
               .prune = "structured/post-training",
               .peft = "none",
               .calibration = "activations"},
    .approximate = true,
    .params = {{.name = "ridge",
                .type = ParamSpec::Type::real,
                .default_value = 0.01,
                .min = 1e-6,
                .max = 1000,
                .choices = {},
                .help = "Ridge of the leverage scores, as a share of the mean second moment"},
               {.name = "damping",
                .type = ParamSpec::Type::real,
                .default_value = 0.01,
                .min = 0,
                .max = 1,
                .choices = {},
                .help = "Added to the diagonal of the second moments, as a share of its mean"}},
    .rank = rank,
    .no_claim = "claims are run at equal stored bytes of one weight coding; what structure gives is a row of the plan",
};

}  // namespace sparing
