// ZipLM (arXiv:2302.04089): channels and heads go one after the other, each time the one whose absence the others can
// make up for best.

#include "methods/method.h"

namespace sparing {
namespace {

Result<math::GroupRanking> rank(const StructureProblem& problem, const Params& params) {
  ThreadPool pool(problem.threads);
  math::GroupedWeight weight = problem.weight;
  weight.damping = params.real("damping");
  return math::remove_groups(weight, problem.most, {}, pool);
}

}  // namespace

extern const Method ziplm_method;
const Method ziplm_method{
    .name = "ziplm",
    .summary = "Takes out channels and heads, each time the one that the others make up for best",
    .paper = "arXiv:2302.04089",
    .kind = MethodKind::structure,
    .traits = {.compressed = "weights",
               .deploy = "pruning",
               .prune = "structured/post-training",
               .peft = "none",
               .calibration = "activations"},
    .approximate = false,
    .params = {{.name = "damping",
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
