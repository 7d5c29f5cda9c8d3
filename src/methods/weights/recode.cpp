// Lossless recoding of weights that lie on an integer grid already: a dequantised model, a GGUF's blocks. The grid is
// found when the plan is made (`detect`), so that the plan says what is stored; `apply` recovers codes, scales and
// minima and proves that they give the weights back.

#include <algorithm>
#include <array>
#include <cmath>
#include <mutex>
#include <numeric>

#include "lab/math/recover_grid.h"
#include "methods/int_grid.h"
#include "methods/site.h"
#include "tensor/half.h"

namespace sparing {

extern const Method recode_method;

namespace {

using math::Anchor;
using math::Precision;
using math::RecoveredGroup;

/// Largest |W - W'|^2 / |W|^2 that coded scales may cost: far below what a 4-bit grid's rounding does.
constexpr double kCodedError = 1e-4;

Result<std::vector<CodecSpec>> codings(const Params& params, std::int64_t, std::int64_t cols) {
  SPARING_TRY(const IntGroupSpec spec, int_grid_spec("recode", params, cols));
  return std::vector<CodecSpec>{spec};
}

Anchor anchor_of(const IntGroupSpec& spec) {
  return spec.zero == ZeroKind::constant || spec.zero == ZeroKind::integer ? Anchor::multiple : Anchor::minimum;
}

/// What code a step of the group has, and the scale that goes with it.
struct Placing {
  float scale;
  int zero;  ///< the code of step 0
  int sign;  ///< code = zero + sign * step
};
/// Nothing where the group's steps do not fit codes of these bits.
std::optional<Placing> place(const RecoveredGroup& group, const IntGroupSpec& spec) {
  const int top = (1 << spec.bits) - 1;
  if (spec.zero == ZeroKind::constant) {
    const int half = spec.zero_offset;
    if (group.low >= -half && group.high < half) return Placing{group.scale, half, 1};
    if (group.high <= half && group.low > -half && spec.groups.scale == ScaleKind::f16)
      return Placing{-group.scale, half, -1};
    return std::nullopt;
  }
  const int zero = spec.zero == ZeroKind::integer ? std::clamp(-group.low, 0, top) : 0;
  if (group.low + zero < 0 || group.high + zero > top) return std::nullopt;
  return Placing{group.scale, zero, 1};
}

struct Shape {
  std::int64_t rows, cols, width, groups;
  Shape(const SiteProblem& problem, std::int64_t group)
      : rows(problem.rows),
        cols(problem.cols),
        width(std::min(group, problem.cols)),
        groups((cols + width - 1) / width) {}
  std::span<const float> values(std::span<const float> weight, std::int64_t row, std::int64_t group) const {
    return weight.subspan(static_cast<std::size_t>(row * cols + group * width),
                          static_cast<std::size_t>(std::min(width, cols - group * width)));
  }
};

// ---- finding the grid -----------------------------------------------------------------------------------------------

constexpr std::array<std::int64_t, 8> kGroups{0, 1024, 512, 256, 128, 64, 32, 16};

/// What all groups of a weight ask for.
struct Demand {
  int lowest = 0, highest = 0;  ///< steps, each group turned so that it fits codes around zero best
  std::int32_t span = 1;        ///< the most codes that a group needs, zero's included
};

/// Demands of rows first, first + stride, ...; false where a group has no grid.
bool survey(const SiteProblem& problem, const Shape& shape, Precision precision, Anchor anchor, std::int64_t stride,
            Demand& demand) {
  for (std::int64_t row = 0; row < shape.rows; row += stride)
    for (std::int64_t g = 0; g < shape.groups; ++g) {
      const auto found = math::recover_group(shape.values(problem.weight, row, g), precision, anchor, 256);
      if (!found) return false;
      const bool turned = found->high > -found->low;
      demand.lowest = std::min(demand.lowest, turned ? -found->high : found->low);
      demand.highest = std::max(demand.highest, turned ? -found->low : found->high);
      demand.span = std::max({demand.span, std::max(found->high, 0) - std::min(found->low, 0)});
    }
  return true;
}

int bits_for(std::int32_t points) {
  int bits = 2;
  while ((1 << bits) < points) ++bits;
  return bits;
}

using Given = std::vector<std::pair<std::string, std::string>>;

void set(Given& params, std::string_view name, std::string value) {
  for (auto& [known, text] : params)
    if (known == name) text = std::move(value);
}

/// The settings that hold what was surveyed.
std::vector<Given> settings(const Given& given, std::int64_t group, Anchor anchor, const Demand& demand) {
  std::vector<Given> all;
  const auto offer = [&](int bits, bool symmetric) {
    if (bits > 8) return;
    Given setting = given;
    set(setting, "bits", std::to_string(bits));
    set(setting, "group", std::to_string(group));
    set(setting, "symmetric", symmetric ? "true" : "false");
    set(setting, "zero", anchor == Anchor::minimum ? "min" : "integer");
    all.push_back(std::move(setting));
  };
  if (anchor == Anchor::multiple) offer(bits_for(2 * std::max(-demand.lowest, demand.highest + 1)), true);
  offer(bits_for(demand.span + 1), false);
  return all;
}

Result<std::optional<Given>> detect(const SiteProblem& problem, const Params& params) {
  SPARING_CHECK_OK(check_problem("recode", problem));
  const Precision precision = math::precision_of(problem.weight);
  std::optional<Given> best;
  std::uint64_t least = 0;
  for (const Anchor anchor : {Anchor::multiple, Anchor::minimum})
    for (const std::int64_t group : kGroups) {
      if (group >= problem.cols) continue;
      const Shape shape(problem, group == 0 ? problem.cols : group);
      Demand demand;
      // Some rows first: what lies on no grid is seen at once.
      if (!survey(problem, shape, precision, anchor, std::max<std::int64_t>(1, problem.rows / 8), demand) ||
          !survey(problem, shape, precision, anchor, 1, demand))
        continue;
      for (Given& setting : settings(params.entries(), group, anchor, demand)) {
        SPARING_TRY(const Params complete, Params::make(recode_method, setting));
        SPARING_TRY(const std::uint64_t bytes, predicted_bytes(recode_method, complete, problem.rows, problem.cols));
        if (best && bytes >= least) continue;
        best = std::move(setting);
        least = bytes;
      }
      break;  // smaller groups have more scales and no fewer codes
    }
  return best;
}

// ---- recoding -------------------------------------------------------------------------------------------------------

/// Scales and minima of one row as codes under their super-scales: scales rounded to the nearest, minima so that a
/// group's middle (its mean code) stays where it was.
void code_row(const IntGroupSpec& spec, std::int64_t groups, const float* scales, const float* minima,
              const float* mean_codes, std::int64_t row, IntGroupParts& parts) {
  const auto nearest = [](float value, float unit, int most) {
    return unit == 0.0f ? 0 : std::clamp(static_cast<int>(std::lrintf(value / unit)), 0, most);
  };
  const int most = (1 << spec.groups.scale_bits) - 1, most_zero = (1 << std::max(spec.zero_bits, 1)) - 1;
  const std::int64_t supers = (groups + spec.groups.super - 1) / spec.groups.super;
  for (std::int64_t s = 0; s < supers; ++s) {
    const std::int64_t first = s * spec.groups.super, last = std::min(groups, first + spec.groups.super);
    const std::uint16_t unit = f32_to_f16(*std::max_element(scales + first, scales + last) / static_cast<float>(most));
    parts.scale_super[static_cast<std::size_t>(row * supers + s)] = unit;
    std::uint16_t unit_min = 0;
    if (minima != nullptr) {
      const float lowest = -*std::min_element(minima + first, minima + last),
                  highest = -*std::max_element(minima + first, minima + last);
      unit_min = f32_to_f16((lowest >= -highest ? lowest : highest) / static_cast<float>(most_zero));
      parts.zero_super[static_cast<std::size_t>(row * supers + s)] = unit_min;
    }
    for (std::int64_t g = first; g < last; ++g) {
      const auto at = static_cast<std::size_t>(row * groups + g);
      parts.scale_codes[at] = static_cast<std::uint8_t>(nearest(scales[g], f16_to_f32(unit), most));
      if (minima == nullptr) continue;
      const float scale = f16_to_f32(unit) * static_cast<float>(parts.scale_codes[at]),
                  minimum = minima[g] + (scales[g] - scale) * mean_codes[g];
      parts.zero_codes[at] = static_cast<std::uint8_t>(nearest(-minimum, f16_to_f32(unit_min), most_zero));
    }
  }
}

class Recoding {
 public:
  Recoding(const SiteProblem& problem, const IntGroupSpec& spec)
      : problem_(problem), spec_(spec), shape_(problem, spec.groups.group) {
    const auto per_group = static_cast<std::size_t>(shape_.rows * shape_.groups);
    parts_.codes.resize(problem.weight.size());
    if (spec.groups.scale == ScaleKind::f16) {
      parts_.scale_f16.resize(per_group);
    } else {
      const std::int64_t supers = (shape_.groups + spec.groups.super - 1) / spec.groups.super;
      parts_.scale_codes.resize(per_group);
      parts_.scale_super.resize(static_cast<std::size_t>(shape_.rows * supers));
      if (spec.zero == ZeroKind::coded_min) parts_.zero_super.resize(parts_.scale_super.size());
    }
    if (spec.zero == ZeroKind::integer || spec.zero == ZeroKind::coded_min) parts_.zero_codes.resize(per_group);
    if (spec.zero == ZeroKind::f16_min) parts_.zero_f16.resize(per_group);
  }

  Result<Term> run(ThreadPool& pool) {
    const Precision precision = math::precision_of(problem_.weight);
    std::mutex mutex;
    std::int64_t off = shape_.rows * shape_.groups;  // the first group that lies on no grid
    pool.parallel_for(shape_.rows, 1, [&](std::int64_t first, std::int64_t last, int) {
      for (std::int64_t row = first; row < last; ++row) {
        const std::int64_t done = recode_row(row, precision);
        if (done == shape_.groups) continue;
        const std::lock_guard lock(mutex);
        off = std::min(off, row * shape_.groups + done);
      }
    });
    if (off < shape_.rows * shape_.groups)
      return input_error("[recode] " + problem_.site + ": row " + std::to_string(off / shape_.groups) + ", group " +
                         std::to_string(off % shape_.groups) + " of " + std::to_string(spec_.groups.group) +
                         " lies on no grid of " + std::to_string(spec_.bits) +
                         " bits: keep the site, or code it with another method");
    return pack(spec_, shape_.rows, shape_.cols, parts_);
  }

 private:
  /// Groups that were recovered, in order: all of them, or up to the first that was not.
  std::int64_t recode_row(std::int64_t row, Precision precision) {
    const bool minima = anchor_of(spec_) == Anchor::minimum;
    std::vector<float> scales, lows, means;
    for (std::int64_t g = 0; g < shape_.groups; ++g) {
      const auto values = shape_.values(problem_.weight, row, g);
      const auto found = math::recover_group(values, precision, anchor_of(spec_), 1 << spec_.bits);
      const auto placing = found ? place(*found, spec_) : std::nullopt;
      if (!placing) return g;
      const auto at = static_cast<std::size_t>(row * shape_.groups + g);
      std::uint8_t* const codes = parts_.codes.data() + row * shape_.cols + g * shape_.width;
      for (std::size_t i = 0; i < values.size(); ++i)
        codes[i] = static_cast<std::uint8_t>(placing->zero + placing->sign * found->steps[i]);
      scales.push_back(placing->scale);
      lows.push_back(found->minimum);
      means.push_back(static_cast<float>(std::accumulate(found->steps.begin(), found->steps.end(), 0)) /
                      static_cast<float>(found->steps.size()));
      if (spec_.groups.scale == ScaleKind::f16) parts_.scale_f16[at] = f32_to_f16(placing->scale);
      if (spec_.zero == ZeroKind::integer) parts_.zero_codes[at] = static_cast<std::uint8_t>(placing->zero);
      if (spec_.zero == ZeroKind::f16_min) parts_.zero_f16[at] = f32_to_f16(found->minimum);
    }
    if (spec_.groups.scale == ScaleKind::coded)
      code_row(spec_, shape_.groups, scales.data(), minima ? lows.data() : nullptr, means.data(), row, parts_);
    return shape_.groups;
  }

  const SiteProblem& problem_;
  const IntGroupSpec& spec_;
  Shape shape_;
  IntGroupParts parts_;
};

Result<SiteResult> apply(const SiteProblem& problem, const Params& params) {
  SPARING_CHECK_OK(check_problem("recode", problem));
  SPARING_TRY(const IntGroupSpec spec, int_grid_spec("recode", params, problem.cols));
  ThreadPool pool(problem.threads);
  SiteResult result;
  result.weight.rows = problem.rows;
  result.weight.cols = problem.cols;
  SPARING_TRY(Term term, Recoding(problem, spec).run(pool));
  result.weight.terms.push_back(std::move(term));
  std::vector<float> decoded(problem.weight.size());
  decode_rows(result.weight, 0, problem.rows, decoded.data());
  result.report.weight_error = relative_error(problem.weight, decoded);
  if (result.report.weight_error > kCodedError)
    return input_error("[recode] " + problem.site + ": scale=" + std::string(params.choice("scale")) + " would lose " +
                       std::to_string(100 * std::sqrt(result.report.weight_error)) +
                       " % of the weight's size: take scale=f16");
  return result;
}

std::vector<ParamSpec> params() {
  std::vector<ParamSpec> all = int_grid_params({}, "none");
  std::erase_if(all, [](const ParamSpec& spec) { return spec.name == "clip"; });
  for (ParamSpec& spec : all) {
    if (spec.name != "scale") continue;
    spec.choices = {"f16", "coded8"};  // 6 bits would lose a per cent
    spec.max = 1;
    spec.help = "scales and minima in f16, without loss, or in 8 bits under an f16 super-scale per 8 groups";
  }
  return all;
}

}  // namespace

const Method recode_method{
    .name = "recode",
    .summary = "Finds the integer grid that weights lie on already and stores them on it, without loss",
    .paper = "none (ours)",
    .kind = MethodKind::weights,
    .traits =
        {.compressed = "weights", .deploy = "quantisation", .prune = "none", .peft = "none", .calibration = "none"},
    .approximate = false,
    .params = params(),
    .codings = codings,
    .transform = nullptr,
    .corrects = nullptr,
    .apply = apply,
    .schedule = nullptr,
    .detects = [](const Params&) { return true; },
    .detect = detect,
    .finds_rate = true,
    .no_claim = "it is exact or refuses: there is nothing to compare",
};

}  // namespace sparing
