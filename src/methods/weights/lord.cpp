// LoRD (arXiv:2309.14021): each weight becomes two thin ones, cut along the principal components of its outputs.

#include "methods/low_rank.h"
#include "methods/second_order.h"

namespace sparing {
namespace {

Result<std::vector<CodecSpec>> codings(const Params& params, std::int64_t rows, std::int64_t cols) {
  return factors_only_codings("lord", params, rows, cols);
}

Result<SiteResult> apply(const SiteProblem& problem, const Params& params) {
  return code_factors_only("lord", problem, params);
}

}  // namespace

extern const Method lord_method;
const Method lord_method{
    .name = "lord",
    .summary = "Replaces each weight by two thin ones along the principal components of its outputs",
    .paper = "arXiv:2309.14021",
    .kind = MethodKind::weights,
    .traits =
        {.compressed = "weights", .deploy = "low-rank", .prune = "none", .peft = "none", .calibration = "activations"},
    .approximate = false,
    .params = factors_only_params(),
    .codings = codings,
    .transform = nullptr,
    .corrects = corrects,
    .apply = apply,
    .claims =
        {
            {.id = "lord-gptq",
             .text =
                 "Two factors from the outputs' principal components diverge less than integer codes of as many bytes",
             .ours = {"lord", "share=0.8"},
             .baseline = {"gptq", "bits=2|3|4|5|6|8 group=32..128:4"}},
        },
};

}  // namespace sparing
