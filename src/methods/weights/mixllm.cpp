// MixLLM (arXiv:2412.14590): the outputs that a model's predictions depend on most, of all its layers together, get
// more bits. How much a row's coding costs is taken to second order from the diagonal Fisher information of the
// outputs, where the paper has the mean of |g d + (g d)^2 / 2| over text.

#include <algorithm>
#include <cmath>
#include <numeric>

#include "codecs/int_rows.h"
#include "methods/input_basis.h"
#include "methods/int_grid.h"
#include "methods/low_rank.h"
#include "methods/second_order.h"
#include "methods/site.h"
#include "tensor/half.h"

namespace sparing {
namespace {

constexpr std::int32_t kHighBits = 8;

Result<IntGroupSpec> base_spec(const Params& params, std::int64_t cols) {
  SPARING_TRY(const IntGroupSpec spec, int_grid_spec("mixllm", params, cols));
  if (spec.groups.scale != ScaleKind::f16)
    return usage_error("[mixllm] scale=" + std::string(params.choice("scale")) +
                       ": rows of two rates share their groups' scales, so use f16");
  if (spec.bits > kHighBits - 2)
    return usage_error("[mixllm] bits=" + std::to_string(spec.bits) + ": at most 6, which leaves 2 for the rows at 8");
  return spec;
}

/// A row at 8 bits has its upper bits in the base, whose scale is 2^rest times its own.
IntGroupSpec rest_spec(const IntGroupSpec& base) {
  IntGroupSpec spec;
  spec.bits = kHighBits - base.bits;
  spec.groups = base.groups;
  spec.zero_offset = 0;
  return spec;
}
IntGroupSpec high_spec(const IntGroupSpec& base) {
  IntGroupSpec spec;
  spec.bits = kHighBits;
  spec.groups = base.groups;
  spec.zero_offset = 1 << (kHighBits - 1);
  return spec;
}

double share_of(const Params& params) {
  return params.real("share") / 100;
}

std::int64_t high_rows(const Params& params, std::int64_t rows) {
  const std::int64_t given = params.integer("rows");
  return given < 0 ? std::llround(share_of(params) * static_cast<double>(rows)) : std::min(given, rows);
}

Result<std::vector<CodecSpec>> codings(const Params& params, std::int64_t rows, std::int64_t cols) {
  SPARING_TRY(const IntGroupSpec base, base_spec(params, cols));
  std::vector<CodecSpec> terms{base};
  if (const std::int64_t count = high_rows(params, rows); count > 0)
    terms.push_back(IntRowsSpec{.count = count, .codes = rest_spec(base)});
  return terms;
}

bool weighs_outputs(const Params& params) {
  return params.real("share") > 0 || params.integer("rows") > 0;
}

/// What each row costs: its loss times how much the predictions depend on it, where that is known.
std::vector<double> saliences(const SiteProblem& problem, const std::vector<double>& losses) {
  const auto sensitivity = problem.statistics->sensitivity;
  std::vector<double> salience(losses.size());
  for (std::size_t r = 0; r < losses.size(); ++r)
    salience[r] = 0.5 * losses[r] * (sensitivity.empty() ? 1.0 : sensitivity[r]) /
                  static_cast<double>(problem.statistics->tokens);
  return salience;
}

Result<std::vector<double>> salience(const SiteProblem& problem, const Params& params) {
  SPARING_CHECK_OK(check_problem("mixllm", problem));
  SPARING_TRY(const IntGroupSpec spec, base_spec(params, problem.cols));
  SPARING_CHECK_OK(check_statistics("mixllm", problem));
  ThreadPool pool(problem.threads);
  const std::span<const float> h = problem.statistics->second_moment;
  std::vector<float> importance(static_cast<std::size_t>(problem.cols));
  for (std::size_t j = 0; j < importance.size(); ++j) importance[j] = h[j * (importance.size() + 1)];
  math::IntGrid grid(spec, problem.rows, problem.cols, int_grid_clip(params));
  math::round_to_nearest(grid, problem.weight, importance, pool);
  return saliences(problem,
                   math::row_losses(problem.weight, decoded_values(grid), problem.rows, problem.cols, h, pool));
}

/// The `count` rows with the most to lose, ascending.
std::vector<std::uint32_t> choose_rows(const std::vector<double>& salience, std::int64_t count) {
  std::vector<std::uint32_t> order(salience.size());
  std::iota(order.begin(), order.end(), 0u);
  std::ranges::stable_sort(order, [&](std::uint32_t a, std::uint32_t b) { return salience[a] > salience[b]; });
  order.resize(static_cast<std::size_t>(count));
  std::ranges::sort(order);
  return order;
}

/// Rows of `high`, as they are stored: their upper bits in the base's rows, the rest beside it.
Result<Term> split(const math::IntGrid& high, const std::vector<std::uint32_t>& rows, const IntGroupSpec& base,
                   std::int64_t all_rows, IntGroupParts& parts) {
  const IntGroupSpec rest = rest_spec(base);
  const std::int64_t cols = high.cols(), groups = high.groups();
  IntGroupParts rests;
  SPARING_TRY(const Term packed, high.pack());
  SPARING_TRY(const IntGroupParts whole, unpack(packed, high.rows(), cols));
  rests.scale_f16 = whole.scale_f16;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto from = i * static_cast<std::size_t>(cols), to = rows[i] * static_cast<std::size_t>(cols);
    for (std::size_t c = 0; c < static_cast<std::size_t>(cols); ++c) {
      parts.codes[to + c] = static_cast<std::uint8_t>(whole.codes[from + c] >> rest.bits);
      rests.codes.push_back(static_cast<std::uint8_t>(whole.codes[from + c] & ((1 << rest.bits) - 1)));
    }
    for (std::size_t g = 0; g < static_cast<std::size_t>(groups); ++g) {
      const std::size_t at = rows[i] * static_cast<std::size_t>(groups) + g;
      const float scale =
          f16_to_f32(whole.scale_f16[i * static_cast<std::size_t>(groups) + g]) * static_cast<float>(1 << rest.bits);
      const std::int32_t middle = 1 << (base.bits - 1);
      parts.scale_f16[at] = f32_to_f16(scale);
      if (base.zero == ZeroKind::integer) parts.zero_codes[at] = static_cast<std::uint8_t>(middle);
      if (base.zero == ZeroKind::f16_min) parts.zero_f16[at] = f32_to_f16(-scale * static_cast<float>(middle));
    }
  }
  return pack_int_rows(rest, all_rows, cols, rows, rests);
}

Result<SiteResult> apply(const SiteProblem& problem, const Params& params) {
  const std::int64_t rows = problem.rows, cols = problem.cols;
  SPARING_TRY(const IntGroupSpec spec, base_spec(params, cols));
  ThreadPool pool(problem.threads);
  const double damping = params.real("damping");
  SPARING_TRY(const SharedMetric metric, metric_at("mixllm", problem, {.damping = damping}, pool));
  const std::vector<float> target = corrected_weight(problem, *metric, params.real("correct"), pool);
  const SecondOrderOptions options{.spec = spec, .clip = int_grid_clip(params), .refine = params.integer("refine")};
  const SecondOrderCoding base = code_second_order(target, rows, *metric, options, pool);
  SPARING_TRY(Term base_term, base.grid.base().pack());
  SiteResult result;
  result.weight.rows = rows;
  result.weight.cols = cols;
  if (const std::int64_t count = high_rows(params, rows); count > 0) {
    const std::vector<std::uint32_t> chosen = choose_rows(saliences(problem, base.losses), count);
    std::vector<float> part;
    for (const std::uint32_t r : chosen)
      part.insert(part.end(), target.begin() + r * cols, target.begin() + (r + 1) * cols);
    SecondOrderOptions at_high = options;
    at_high.spec = high_spec(spec);
    const SecondOrderCoding high = code_second_order(part, count, *metric, at_high, pool);
    SPARING_TRY(IntGroupParts parts, unpack(base_term, rows, cols));
    SPARING_TRY(Term rest, split(high.grid.base(), chosen, spec, rows, parts));
    SPARING_TRY(base_term, pack(spec, rows, cols, parts));
    result.weight.terms = {std::move(base_term), std::move(rest)};
  } else {
    result.weight.terms = {std::move(base_term)};
  }
  result.report = report_on_target(result.weight, problem, target, *metric, pool);
  result.report.note = second_order_note(*metric, damping, base.rows_rounded);
  return result;
}

const RowSharing sharing{
    .wanted = [](const Params& params) { return params.choice("spread") == "global" && params.integer("rows") < 0; },
    .share = share_of,
    .count = "rows",
    .salience = salience};

std::vector<ParamSpec> params() {
  return int_grid_params({{.name = "share",
                           .type = ParamSpec::Type::real,
                           .default_value = 10,
                           .min = 0,
                           .max = 100,
                           .choices = {},
                           .help = "per cent of the rows that get 8 bits"},
                          {.name = "spread",
                           .type = ParamSpec::Type::choice,
                           .default_value = 0,
                           .min = 0,
                           .max = 1,
                           .choices = {"global", "layer"},
                           .help = "the share is of all layers' rows, where they matter most, or of each layer's"},
                          {.name = "rows",
                           .type = ParamSpec::Type::integer,
                           .default_value = -1,
                           .min = -1,
                           .max = 1 << 24,
                           .choices = {},
                           .help = "this site's rows at 8 bits; -1: what its share comes to"},
                          damping_param(),
                          correct_param(0),
                          refine_param(),
                          guided_param(),
                          basis_param()},
                         "mse");
}

}  // namespace

extern const Method mixllm_method;
const Method mixllm_method{
    .name = "mixllm",
    .summary = "Few bits for most outputs and 8 for those that the predictions depend on most, of all layers together",
    .paper = "arXiv:2412.14590",
    .kind = MethodKind::weights,
    .traits = {.compressed = "weights",
               .deploy = "quantisation",
               .prune = "none",
               .peft = "none",
               .calibration = "gradients"},
    .approximate = true,
    .params = params(),
    .codings = codings,
    .transform = basis_transform,
    .corrects = corrects,
    .apply = in_basis<apply>,
    .sharing = &sharing,
    .weighs_outputs = weighs_outputs,
    .guides = guided,
    .claims =
        {
            {.id = "mixllm-global",
             .text =
                 "At 3 bits, a tenth of the outputs at 8, chosen over all layers, diverges less than a tenth of each "
                 "layer's",
             .ours = {"mixllm", "bits=3 group=128 share=10"},
             .baseline = {"mixllm", "bits=3 group=128 spread=layer share=10..24"}},
            {.id = "mixllm-gptq",
             .text = "At 3 bits, a tenth of the outputs at 8, chosen over all layers, diverges less than as many bytes "
                     "spent on all alike",
             .ours = {"mixllm", "bits=3 group=128 share=10"},
             .baseline = {"gptq", "bits=3|4 group=16..128:4"}},
        },
};

}  // namespace sparing
