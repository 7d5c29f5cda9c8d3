// Rounding to nearest: the yardstick for every other weight method.

#include "methods/input_basis.h"
#include "methods/int_grid.h"
#include "methods/site.h"

namespace sparing {
namespace {

Result<std::vector<CodecSpec>> codings(const Params& params, std::int64_t, std::int64_t cols) {
  SPARING_TRY(const IntGroupSpec spec, int_grid_spec("rtn", params, cols));
  return std::vector<CodecSpec>{spec};
}

Result<SiteResult> apply(const SiteProblem& problem, const Params& params) {
  SPARING_CHECK_OK(check_problem("rtn", problem));
  SPARING_TRY(const IntGroupSpec spec, int_grid_spec("rtn", params, problem.cols));
  ThreadPool pool(problem.threads);
  math::IntGrid grid(spec, problem.rows, problem.cols, int_grid_clip(params));
  math::round_to_nearest(grid, problem.weight, {}, pool);
  SiteResult result;
  result.weight.rows = problem.rows;
  result.weight.cols = problem.cols;
  SPARING_TRY(Term term, grid.pack());
  result.weight.terms.push_back(std::move(term));
  result.report.weight_error = relative_error(problem.weight, grid);
  return result;
}

}  // namespace

extern const Method rtn_method;
const Method rtn_method{
    .name = "rtn",
    .summary = "Rounds every weight to the nearest point of its group's integer grid",
    .paper = "arXiv:2103.13630",
    .kind = MethodKind::weights,
    .traits =
        {.compressed = "weights", .deploy = "quantisation", .prune = "none", .peft = "none", .calibration = "none"},
    .approximate = false,
    .params = int_grid_params({basis_param(false)}, "none"),
    .codings = codings,
    .transform = basis_transform,
    .corrects = nullptr,
    .apply = in_basis<apply>,
    .claims = {{.id = "rtn-hadamard",
                .text = "At 3 bits, rounding inputs rotated in blocks diverges less than rounding them as they are",
                .ours = {"rtn", "bits=3 group=64 clip=mse basis=hadamard"},
                .baseline = {"rtn", "bits=3 group=48..64:4 clip=mse"}}},
};

}  // namespace sparing
