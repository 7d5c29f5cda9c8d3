// NUPES (arXiv:2308.05600): power grids. A weight is rounded after |w| was raised to a power a < 1, so that points lie
// close together near zero, where most weights are: w' = s sign(k) |k / K|^(1/a). Stored as a table with group scales.

#include <algorithm>
#include <cmath>

#include "lab/math/table_grid.h"
#include "methods/input_basis.h"
#include "methods/site.h"

namespace sparing {
namespace {

/// Exponents that exponent=0 searches, and the rows (spread over the matrix) that it searches on.
constexpr double kLeastExponent = 0.4, kExponentStep = 0.05;
constexpr int kExponents = 13;
constexpr std::int64_t kSampledRows = 64;
/// What exponent=0 stands for where nothing was searched: in the middle of what suits normal weights.
constexpr double kUsualExponent = 0.85;

std::vector<float> power_table(int bits, bool symmetric, double exponent, bool integers) {
  const int half = 1 << (bits - 1), most = symmetric ? half - 1 : half;
  std::vector<float> table;
  for (int k = -half; k < half; ++k) {
    // A symmetric grid has one point fewer; its spare code repeats the lowest.
    const int step = std::max(k, -most);
    const double value = std::copysign(std::pow(std::abs(step) / static_cast<double>(most), 1 / exponent), step);
    table.push_back(static_cast<float>(integers ? std::round(127 * value) : value));
  }
  table[static_cast<std::size_t>(half)] = 0.0f;
  return table;
}

LutGroupSpec spec_with(const Params& params, std::int32_t group, double exponent) {
  LutGroupSpec spec;
  spec.bits = static_cast<std::int32_t>(params.integer("bits"));
  spec.groups.group = group;
  spec.table = power_table(spec.bits, params.choice("form") == "symmetric", exponent, params.choice("table") == "int8");
  return spec;
}

Result<LutGroupSpec> spec_of(const Params& params, std::int64_t cols) {
  SPARING_TRY(const std::int32_t group, group_inputs("nupes", params, cols));
  const double exponent = params.real("exponent");
  return spec_with(params, group, exponent > 0 ? exponent : kUsualExponent);
}

Result<std::vector<CodecSpec>> codings(const Params& params, std::int64_t, std::int64_t cols) {
  SPARING_TRY(const LutGroupSpec spec, spec_of(params, cols));
  return std::vector<CodecSpec>{spec};
}

bool detects(const Params& params) {
  return params.real("exponent") == 0;
}

/// The exponent of least squared error on some of the rows.
Result<std::optional<std::vector<std::pair<std::string, std::string>>>> detect(const SiteProblem& problem,
                                                                               const Params& params) {
  SPARING_CHECK_OK(check_problem("nupes", problem));
  SPARING_TRY(const LutGroupSpec usual, spec_of(params, problem.cols));
  const std::int64_t stride = std::max<std::int64_t>(1, problem.rows / kSampledRows);
  std::vector<float> rows;
  for (std::int64_t r = 0; r < problem.rows; r += stride)
    rows.insert(rows.end(), problem.weight.begin() + r * problem.cols, problem.weight.begin() + (r + 1) * problem.cols);
  ThreadPool pool(problem.threads);
  double best = kUsualExponent, least = HUGE_VAL;
  for (int i = 0; i < kExponents; ++i) {
    const double exponent = kLeastExponent + kExponentStep * i;
    math::TableGrid grid(spec_with(params, usual.groups.group, exponent),
                         static_cast<std::int64_t>(rows.size()) / problem.cols, problem.cols);
    grid.round(rows, pool);
    const double error = relative_error(rows, grid.decoded());
    if (error < least) least = error, best = exponent;
  }
  auto entries = params.entries();
  for (auto& [name, value] : entries)
    if (name == "exponent") value = std::to_string(std::lround(best * 100) / 100.0).substr(0, 4);
  return std::optional(std::move(entries));
}

Result<SiteResult> apply(const SiteProblem& problem, const Params& params) {
  SPARING_CHECK_OK(check_problem("nupes", problem));
  SPARING_TRY(const LutGroupSpec spec, spec_of(params, problem.cols));
  ThreadPool pool(problem.threads);
  math::TableGrid grid(spec, problem.rows, problem.cols);
  grid.round(problem.weight, pool);
  SiteResult result;
  result.weight.rows = problem.rows;
  result.weight.cols = problem.cols;
  SPARING_TRY(Term term, grid.pack());
  result.weight.terms.push_back(std::move(term));
  result.report.weight_error = relative_error(problem.weight, grid.decoded());
  return result;
}

}  // namespace

extern const Method nupes_method;
const Method nupes_method{
    .name = "nupes",
    .summary = "Rounds on a power grid: points lie close together near zero, as weights do",
    .paper = "arXiv:2308.05600",
    .kind = MethodKind::weights,
    .traits =
        {.compressed = "weights", .deploy = "quantisation", .prune = "none", .peft = "none", .calibration = "none"},
    .approximate = true,
    .params =
        {
            bits_param(3, 2, 6),
            group_param(),
            {.name = "exponent",
             .type = ParamSpec::Type::real,
             .default_value = kUsualExponent,
             .min = 0,
             .max = 2,
             .choices = {},
             .help = "power that sizes are raised to before rounding; 1: uniform; 0: searched when the plan is made"},
            {.name = "form",
             .type = ParamSpec::Type::choice,
             .default_value = 1,
             .min = 0,
             .max = 1,
             .choices = {"symmetric", "asymmetric"},
             .help = "2^bits - 1 points, as many on either side; or all 2^bits, one side reaching further"},
            {.name = "table",
             .type = ParamSpec::Type::choice,
             .default_value = 0,
             .min = 0,
             .max = 1,
             .choices = {"int8", "f32"},
             .help = "points rounded to 127ths, which run as integers; or as they are, which run in f32"},
            basis_param(false),
        },
    .codings = codings,
    .transform = basis_transform,
    .corrects = nullptr,
    .apply = in_basis<apply>,
    .schedule = nullptr,
    .detects = detects,
    .detect = detect,
    .claims =
        {
            {.id = "nupes-rounding-3bit",
             .text = "At 3 bits, a grid of powers diverges less than an even one",
             .ours = {"nupes", "bits=3 group=64"},
             .baseline = {"rtn", "bits=3|4 group=16..64:4"}},
            {.id = "nupes-symmetric-3bit",
             .text = "At 3 bits and as many points on either side, a grid of powers diverges less than an even one",
             .ours = {"nupes", "bits=3 group=64 form=symmetric"},
             .baseline = {"rtn", "bits=3|4 group=16..64:4 symmetric=true clip=mse"}},
            {.id = "nupes-kmeans-3bit",
             .text = "At 3 bits, a grid of powers diverges less than a table from Fisher k-means",
             .ours = {"nupes", "bits=3 group=64"},
             .baseline = {"edkm", "bits=3|4 group=64 steps=0 start=nearest"}},
        },
};

}  // namespace sparing
