// SpQR (arXiv:2306.03078): small groups whose scales and minima are coded in few bits themselves, and the few weights
// that no grid serves kept beside it in f16, found and coded inside GPTQ's error feedback.

#include <cmath>

#include "base/checked.h"
#include "codecs/csr.h"
#include "methods/input_basis.h"
#include "methods/second_order.h"
#include "methods/site.h"

namespace sparing {
namespace {

Result<IntGroupSpec> grid_spec(const Params& params, std::int64_t cols) {
  const std::int64_t offset = params.integer("scale_offset"), bits = params.integer("scale_bits");
  if (offset != 0 && offset < (1 << bits))
    return usage_error("[spqr] scale_offset=" + std::to_string(offset) +
                       ": 0, or at least 2^scale_bits = " + std::to_string(1 << bits));
  IntGroupSpec spec;
  spec.bits = static_cast<std::int32_t>(params.integer("bits"));
  SPARING_TRY(spec.groups.group, group_inputs("spqr", params, cols));
  spec.groups.scale = ScaleKind::coded;
  spec.groups.scale_bits = static_cast<std::int32_t>(bits);
  spec.groups.scale_offset = static_cast<std::int32_t>(offset);
  spec.groups.super = static_cast<std::int32_t>(params.integer("super"));
  spec.zero = ZeroKind::coded_min;
  spec.zero_bits = static_cast<std::int32_t>(params.integer("zero_bits"));
  spec.zero_offset = 0;
  return spec;
}

std::int64_t outliers_of(const Params& params, std::int64_t rows, std::int64_t cols) {
  return std::llround(params.real("outliers") / 100 * static_cast<double>(rows) * static_cast<double>(cols));
}

Result<std::vector<CodecSpec>> codings(const Params& params, std::int64_t rows, std::int64_t cols) {
  SPARING_TRY(const IntGroupSpec spec, grid_spec(params, cols));
  std::vector<CodecSpec> terms{spec};
  if (const std::int64_t count = outliers_of(params, rows, cols); count > 0)
    terms.push_back(CsrSpec{.nonzeros = count, .wide_index = cols > 65536});
  return terms;
}

Result<Term> pack_outliers(const SiteProblem& problem, const math::Outliers& places,
                           const std::vector<std::uint16_t>& rests) {
  for (std::size_t i = 0; i < rests.size(); ++i)
    if ((rests[i] & 0x7C00u) == 0x7C00u)
      return input_error("[spqr] " + problem.site + ": a weight in column " + std::to_string(places.columns[i]) +
                         " is beyond f16's range (65504): rescale the weights");
  return pack_csr(problem.rows, problem.cols, places.row_start, places.columns, rests);
}

Result<SiteResult> apply(const SiteProblem& problem, const Params& params) {
  SPARING_TRY(const IntGroupSpec spec, grid_spec(params, problem.cols));
  const std::int64_t rows = problem.rows, cols = problem.cols;
  ThreadPool pool(problem.threads);
  const double damping = params.real("damping");
  SPARING_TRY(const SharedMetric metric, metric_at("spqr", problem, {.damping = damping}, pool));
  const std::vector<float> target = corrected_weight(problem, *metric, params.real("correct"), pool);
  SecondOrderOptions options{.spec = spec, .clip = math::Clip::mse, .refine = params.integer("refine")};
  if (const std::int64_t count = outliers_of(params, rows, cols); count > 0)
    options.outliers = std::make_shared<const math::Outliers>(
        math::choose_outliers(target, rows, *metric, spec.groups.group, spec.bits, count, pool));
  const SecondOrderCoding coding = code_second_order(target, rows, *metric, options, pool);
  SiteResult result;
  result.weight.rows = rows;
  result.weight.cols = cols;
  SPARING_TRY(Term grid, coding.grid.base().pack());
  result.weight.terms.push_back(std::move(grid));
  if (options.outliers) {
    SPARING_TRY(Term outliers, pack_outliers(problem, *options.outliers, coding.grid.rests()));
    result.weight.terms.push_back(std::move(outliers));
  }
  result.report = report_on(problem, coding.decoded, pool);
  result.report.note = second_order_note(*metric, damping, coding.rows_rounded);
  return result;
}

}  // namespace

extern const Method spqr_method;
const Method spqr_method{
    .name = "spqr",
    .summary = "Small groups under coded scales and minima, and the weights that no grid serves kept in f16",
    .paper = "arXiv:2306.03078",
    .kind = MethodKind::weights,
    .traits = {.compressed = "weights",
               .deploy = "quantisation",
               .prune = "none",
               .peft = "none",
               .calibration = "activations"},
    .approximate = false,
    .params =
        {
            bits_param(3, 2, 8),
            group_param(16, "consecutive inputs that share a scale and a minimum; 0: the whole row"),
            {.name = "super",
             .type = ParamSpec::Type::integer,
             .default_value = 16,
             .min = 1,
             .max = 4096,
             .choices = {},
             .help = "groups of a row under one pair of f16 super-scales"},
            {.name = "scale_bits",
             .type = ParamSpec::Type::integer,
             .default_value = 3,
             .min = 1,
             .max = 8,
             .choices = {},
             .help = "bits of a group's scale"},
            {.name = "zero_bits",
             .type = ParamSpec::Type::integer,
             .default_value = 3,
             .min = 1,
             .max = 8,
             .choices = {},
             .help = "bits of a group's minimum"},
            {.name = "scale_offset",
             .type = ParamSpec::Type::integer,
             .default_value = 12,
             .min = 0,
             .max = 256,
             .choices = {},
             .help = "scales are (scale_offset - code) super-scales, or code super-scales where it is 0"},
            {.name = "outliers",
             .type = ParamSpec::Type::real,
             .default_value = 0.5,
             .min = 0,
             .max = 20,
             .choices = {},
             .help = "per cent of the weights that are kept beside the grid in f16, 32 bits each"},
            damping_param(),
            correct_param(0),
            refine_param(),
            guided_param(),
            basis_param(),
        },
    .codings = codings,
    .transform = basis_transform,
    .corrects = corrects,
    .apply = in_basis<apply>,
    .guides = guided,
    .claims =
        {
            {.id = "spqr-gptq-3bit",
             .text = "Groups of 16 with coded scales, and outliers apart, diverge less than error feedback at as many "
                     "bytes",
             .ours = {"spqr", "bits=3 group=16"},
             .baseline = {"gptq", "bits=3|4 group=16..128:4"}},
            {.id = "spqr-super64",
             .text = "With super-scales for 64 groups and few outliers, so at about 3.5 bits, they still do",
             .ours = {"spqr", "bits=3 group=16 super=64 outliers=0.2"},
             .baseline = {"gptq", "bits=3|4 group=16..128:4"}},
        },
};

}  // namespace sparing
