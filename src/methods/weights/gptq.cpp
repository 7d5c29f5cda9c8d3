// GPTQ (arXiv:2210.17323): inputs are coded one after another, and those still to come make up for the errors so far,
// measured in the second moments of the site's inputs. Optional polish, in the same metric: least-squares scales and
// coordinate descent over the codes. A row that rounding serves better keeps rounding.

#include <algorithm>
#include <memory>

#include "methods/input_basis.h"
#include "methods/int_grid.h"
#include "methods/second_order.h"
#include "methods/site.h"

namespace sparing {
namespace {

bool permutes(const Params& params) {
  return params.flag("act_order") && !params.flag("static_groups");
}

Result<IntGroupSpec> spec_of(const Params& params, std::int64_t cols) {
  SPARING_TRY(IntGroupSpec spec, int_grid_spec("gptq", params, cols));
  if (spec.groups.scale == ScaleKind::coded && !params.flag("static_groups"))
    return usage_error("[gptq] scale=" + std::string(params.choice("scale")) +
                       " needs static_groups=true: groups that share a super-scale are fitted together");
  if (permutes(params) && basis_transform(params) != TransformKind::identity)
    return usage_error("[gptq] basis=" + std::string(params.choice("basis")) +
                       " needs static_groups=true: a permutation of the inputs is stored otherwise");
  return spec;
}

Result<std::vector<CodecSpec>> codings(const Params& params, std::int64_t, std::int64_t cols) {
  SPARING_TRY(const IntGroupSpec spec, spec_of(params, cols));
  return std::vector<CodecSpec>{spec};
}

TransformKind transform(const Params& params) {
  return permutes(params) ? TransformKind::permutation : basis_transform(params);
}

Transform permutation_of(const std::vector<std::int32_t>& order) {
  Transform t;
  t.kind = TransformKind::permutation;
  const bool narrow = order.size() <= 65536;
  Buffer buffer(order.size() * (narrow ? sizeof(std::uint16_t) : sizeof(std::uint32_t)));
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (narrow) {
      buffer.as<std::uint16_t>()[i] = static_cast<std::uint16_t>(order[i]);
    } else {
      buffer.as<std::uint32_t>()[i] = static_cast<std::uint32_t>(order[i]);
    }
  }
  t.blob = Blob::of(std::move(buffer));
  return t;
}

void reorder_columns(const std::vector<std::int32_t>& order, std::vector<float>& weight) {
  const std::size_t n = order.size();
  std::vector<float> line(n);
  for (std::size_t begin = 0; begin < weight.size(); begin += n) {
    for (std::size_t j = 0; j < n; ++j) line[j] = weight[begin + static_cast<std::size_t>(order[j])];
    std::copy(line.begin(), line.end(), weight.begin() + static_cast<std::ptrdiff_t>(begin));
  }
}

// The metric with inputs in coding order: where groups are runs of that order.
void reorder(math::Metric& metric) {
  const std::vector<std::int32_t> order = metric.order;
  reorder_columns(order, metric.h);
  std::vector<float> h(metric.h.size());
  const std::size_t n = order.size();
  for (std::size_t i = 0; i < n; ++i)
    std::copy_n(metric.h.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(order[i]) * n), n,
                h.begin() + static_cast<std::ptrdiff_t>(i * n));
  metric.h = std::move(h);
  for (std::size_t j = 0; j < n; ++j) {
    metric.diagonal[j] = metric.h[j * n + j];
    metric.order[j] = static_cast<std::int32_t>(j);
  }
}

double sum(const std::vector<double>& values) {
  double total = 0;
  for (const double v : values) total += v;
  return total;
}

Result<SiteResult> apply(const SiteProblem& problem, const Params& params) {
  SPARING_TRY(const IntGroupSpec spec, spec_of(params, problem.cols));
  const std::int64_t rows = problem.rows, cols = problem.cols;
  ThreadPool pool(problem.threads);
  const double damping = params.real("damping");
  SPARING_TRY(const SharedMetric as_given,
              metric_at("gptq", problem, {.damping = damping, .descending = params.flag("act_order")}, pool));
  SiteResult result;
  result.weight.rows = rows;
  result.weight.cols = cols;
  // Copies only where they differ from the weight: an embedding is large.
  std::vector<float> moved_original, moved_target;
  if (permutes(params) || is_corrected(problem, params.real("correct")))
    moved_target = corrected_weight(problem, *as_given, params.real("correct"), pool);
  math::Metric reordered;
  if (permutes(params)) {
    reordered = *as_given;
    moved_original.assign(problem.weight.begin(), problem.weight.end());
    result.weight.input = permutation_of(reordered.order);
    reorder_columns(reordered.order, moved_target);
    reorder_columns(reordered.order, moved_original);
    reorder(reordered);
  }
  const std::span<const float> target = moved_target.empty() ? problem.weight : moved_target,
                               original = moved_original.empty() ? problem.weight : moved_original;
  const math::Metric& metric = permutes(params) ? reordered : *as_given;
  const SecondOrderCoding coding = code_second_order(target, rows, metric,
                                                     {.spec = spec,
                                                      .clip = int_grid_clip(params),
                                                      .static_groups = params.flag("static_groups"),
                                                      .block = params.integer("block"),
                                                      .refine = params.integer("refine")},
                                                     pool);
  SPARING_TRY(Term term, coding.grid.base().pack());
  result.weight.terms.push_back(std::move(term));
  result.report.note = second_order_note(metric, damping, coding.rows_rounded);
  result.report.weight_error = relative_error(original, coding.decoded);
  const double whole = sum(math::row_losses(target, {}, rows, metric, pool));
  result.report.output_error = whole > 0 ? sum(coding.losses) / whole : 0;
  return result;
}

}  // namespace

extern const Method gptq_method;
const Method gptq_method{
    .name = "gptq",
    .summary = "Codes inputs one after another; later ones make up for the errors of earlier ones",
    .paper = "arXiv:2210.17323",
    .kind = MethodKind::weights,
    .traits = {.compressed = "weights",
               .deploy = "quantisation",
               .prune = "none",
               .peft = "none",
               .calibration = "activations"},
    .approximate = false,
    .params = int_grid_params(
        {
            {.name = "act_order",
             .type = ParamSpec::Type::boolean,
             .default_value = 1,
             .min = 0,
             .max = 1,
             .choices = {},
             .help = "code inputs by falling second moment"},
            {.name = "static_groups",
             .type = ParamSpec::Type::boolean,
             .default_value = 1,
             .min = 0,
             .max = 1,
             .choices = {},
             .help = "fit all groups beforehand; false: when reached, and with act_order the input's permutation is "
                     "stored"},
            damping_param(),
            {.name = "block",
             .type = ParamSpec::Type::integer,
             .default_value = 128,
             .min = 1,
             .max = 65536,
             .choices = {},
             .help = "inputs between two matrix products; speed only"},
            correct_param(0),
            refine_param(),
            guided_param(),
            basis_param(),
        },
        "mse"),
    .codings = codings,
    .transform = transform,
    .corrects = corrects,
    .apply = in_basis<apply>,
    .guides = guided,
    .claims =
        {
            {.id = "gptq-rounding-4bit",
             .text = "At 4 bits, error feedback has at most half the divergence of rounding",
             .ours = {"gptq", "bits=4 group=64"},
             .baseline = {"rtn", "bits=4 group=64 clip=mse"},
             .factor = 0.5},
            {.id = "gptq-rounding-3bit",
             .text = "At 3 bits, error feedback has at most half the divergence of rounding",
             .ours = {"gptq", "bits=3 group=64"},
             .baseline = {"rtn", "bits=3 group=64 clip=mse"},
             .factor = 0.5},
            {.id = "gptq-correct",
             .text = "At 3 bits, making up for the damage of sites coded before lowers divergence",
             .ours = {"gptq", "bits=3 group=64 correct=1"},
             .baseline = {"gptq", "bits=3 group=64"}},
            {.id = "gptq-guided",
             .text = "At 3 bits, tokens that count by what the predictions depend on lower divergence",
             .ours = {"gptq", "bits=3 group=64 guided=true"},
             .baseline = {"gptq", "bits=3 group=64"}},
            {.id = "gptq-hadamard",
             .text = "At 3 bits, inputs rotated in blocks lower divergence",
             .ours = {"gptq", "bits=3 group=64 basis=hadamard"},
             .baseline = {"gptq", "bits=3 group=48..64:4"}},
            {.id = "gptq-scaled",
             .text = "At 3 bits, inputs scaled by their sizes lower divergence",
             .ours = {"gptq", "bits=3 group=64 basis=scaled"},
             .baseline = {"gptq", "bits=3 group=48..64:4"}},
            {.id = "gptq-act_order",
             .text = "At 3 bits, coding inputs by falling second moment lowers divergence",
             .ours = {"gptq", "bits=3 group=64 act_order=true"},
             .baseline = {"gptq", "bits=3 group=64 act_order=false"}},
            {.id = "gptq-refine",
             .text = "At 3 bits, least-squares scales and coordinate descent afterwards lower divergence",
             .ours = {"gptq", "bits=3 group=64 refine=2"},
             .baseline = {"gptq", "bits=3 group=64 refine=0"}},
            {.id = "gptq-coded_scales",
             .text = "At 3 bits, small groups whose scales are coded in 6 bits serve better than larger groups with "
                     "scales in f16",
             .ours = {"gptq", "bits=3 group=16 scale=coded6"},
             .baseline = {"gptq", "bits=3 group=16..64:4"}},
        },
};

}  // namespace sparing
