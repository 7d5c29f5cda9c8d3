// Atomic feature mimicking (arXiv:2405.18146): a layer's outputs are kept along their principal components. The
// published form centres the outputs and keeps their mean as a bias of the second layer. A weight is stored here with
// no bias of its own, so the second moments stay uncentred; then it is lord's mathematics.

#include "methods/low_rank.h"
#include "methods/second_order.h"

namespace sparing {
namespace {

Result<std::vector<CodecSpec>> codings(const Params& params, std::int64_t rows, std::int64_t cols) {
  return factors_only_codings("afm", params, rows, cols);
}

Result<SiteResult> apply(const SiteProblem& problem, const Params& params) {
  return code_factors_only("afm", problem, params);
}

}  // namespace

extern const Method afm_method;
const Method afm_method{
    .name = "afm",
    .summary = "Keeps the principal components of each layer's outputs: two thin layers for one",
    .paper = "arXiv:2405.18146",
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
            {.id = "afm-gptq",
             .text =
                 "Two factors from the outputs' principal components diverge less than integer codes of as many bytes",
             .ours = {"afm", "share=0.8"},
             .baseline = {"gptq", "bits=2|3|4|5|6|8 group=32..128:4"}},
        },
};

}  // namespace sparing
