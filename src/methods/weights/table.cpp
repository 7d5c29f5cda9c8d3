// Tables of fixed points (nf4, two kinds of fp4) and int8: the formats of the study of what post-training quantisation
// does to generated text. A group's scale is its largest magnitude, as in the formats' own code.

#include <algorithm>
#include <array>
#include <cmath>
#include <span>
#include <vector>

#include "codecs/int_group.h"
#include "methods/input_basis.h"
#include "methods/site.h"
#include "tensor/half.h"

namespace sparing {
namespace {

// NormalFloat (arXiv:2305.14314, appendix E): quantiles of the normal distribution between its 0.9677 tails, zero among
// them, scaled to [-1, 1].
constexpr std::array<float, 16> kNf4 = {
    -1.0f,      -0.6961928f, -0.52507305f, -0.39491749f, -0.28444138f, -0.18477343f, -0.09105004f, 0.0f,
    0.0795803f, 0.1609302f,  0.2461123f,   0.33791524f,  0.44070983f,  0.562617f,    0.72295684f,  1.0f};
// Positive halves. bitsandbytes' FP4: twelfths, with one tiny value; OCP's E2M1: sixths. Zero is there twice.
constexpr std::array<float, 8> kFp4 = {0.0f, 1 / 192.0f, 1 / 6.0f, 1 / 4.0f, 1 / 3.0f, 1 / 2.0f, 2 / 3.0f, 1.0f};
constexpr std::array<float, 8> kE2m1 = {0.0f, 0.5f / 6, 1 / 6.0f, 1.5f / 6, 2 / 6.0f, 3 / 6.0f, 4 / 6.0f, 1.0f};

std::vector<float> mirrored(std::span<const float> half) {
  std::vector<float> table;
  for (auto v = half.rbegin(); v != half.rend(); ++v) table.push_back(-*v);
  table.insert(table.end(), half.begin(), half.end());
  return table;
}

std::vector<float> table_of(std::string_view name) {
  if (name == "nf4") return {kNf4.begin(), kNf4.end()};
  return name == "fp4" ? mirrored(kFp4) : mirrored(kE2m1);
}

bool is_int8(const Params& params) {
  return params.choice("table") == "int8";
}

Result<GroupSpec> groups_of(const Params& params, std::int64_t cols) {
  GroupSpec groups;
  SPARING_TRY(groups.group, group_inputs("table", params, cols));
  if (params.choice("scale") == "coded8") {
    groups.scale = ScaleKind::coded;
    groups.scale_bits = 8;
    groups.super = static_cast<std::int32_t>(params.integer("super"));
  }
  return groups;
}

Result<std::vector<CodecSpec>> codings(const Params& params, std::int64_t, std::int64_t cols) {
  SPARING_TRY(const GroupSpec groups, groups_of(params, cols));
  if (!is_int8(params)) return std::vector<CodecSpec>{LutGroupSpec{4, groups, table_of(params.choice("table"))}};
  IntGroupSpec spec;
  spec.bits = 8;
  spec.groups = groups;
  spec.zero_offset = 128;
  return std::vector<CodecSpec>{spec};
}

/// The point nearest to a value: the upper of two that are as near.
std::uint8_t nearest(std::span<const float> table, float value) {
  const auto above = std::lower_bound(table.begin(), table.end(), value);
  if (above == table.begin()) return 0;
  if (above == table.end()) return static_cast<std::uint8_t>(table.size() - 1);
  const auto at = static_cast<std::uint8_t>(above - table.begin());
  return value - table[at - 1u] < table[at] - value ? static_cast<std::uint8_t>(at - 1) : at;
}

float largest(std::span<const float> values) {
  float most = 0;
  for (const float v : values) most = std::max(most, std::abs(v));
  return most;
}

/// One row's scales, as they are stored, and its codes: the table's first entry has the code `first`.
class RowCoder {
 public:
  RowCoder(const GroupSpec& groups, std::span<const float> table, std::uint8_t first, std::int64_t cols, bool search)
      : groups_(groups),
        table_(table),
        first_(first),
        cols_(cols),
        search_(search),
        count_((cols + groups.group - 1) / groups.group) {}

  Status code(std::span<const float> row, std::int64_t index, IntGroupParts& parts) const {
    std::vector<float> wanted(static_cast<std::size_t>(count_));
    for (std::int64_t g = 0; g < count_; ++g) wanted[static_cast<std::size_t>(g)] = scale_for(group(row, g));
    for (std::int64_t g = 0; g < count_; ++g) {
      float scale = 0;
      if (groups_.scale == ScaleKind::f16) {
        const std::uint16_t bits = f32_to_f16(wanted[static_cast<std::size_t>(g)]);
        scale = f16_to_f32(bits);
        parts.scale_f16.push_back(bits);
      } else {
        SPARING_TRY(scale, coded_scale(wanted, g, parts));
      }
      if (!std::isfinite(scale)) {
        return input_error("[table] row " + std::to_string(index) + ": a scale of " +
                           std::to_string(wanted[static_cast<std::size_t>(g)]) + " does not fit in f16");
      }
      for (const float w : group(row, g)) {
        const std::uint8_t at = nearest(table_, scale > 0 ? w / scale : 0.0f);
        parts.codes.push_back(static_cast<std::uint8_t>(at + first_));
      }
    }
    return {};
  }

 private:
  std::span<const float> group(std::span<const float> row, std::int64_t g) const {
    const std::int64_t begin = g * groups_.group, end = std::min<std::int64_t>(begin + groups_.group, cols_);
    return row.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
  }

  /// The largest magnitude over the table's, or with a search the best of 32 down to half of that.
  float scale_for(std::span<const float> values) const {
    const float whole = largest(values) / largest(table_);
    if (!search_ || whole <= 0) return whole;
    float best = whole;
    double least = error(values, whole);
    for (int step = 1; step < 32; ++step) {
      const float scale = whole * (1 - static_cast<float>(step) / 64);
      const double now = error(values, scale);
      if (now < least) least = now, best = scale;
    }
    return best;
  }
  double error(std::span<const float> values, float scale) const {
    double sum = 0;
    for (const float w : values) {
      const double e = static_cast<double>(w) - static_cast<double>(scale) * table_[nearest(table_, w / scale)];
      sum += e * e;
    }
    return sum;
  }

  /// A super-scale for the first of its groups, then each group's code: at least 1 where the group is not all zeros.
  Result<float> coded_scale(std::span<const float> wanted, std::int64_t g, IntGroupParts& parts) const {
    const std::int64_t first = g / groups_.super * groups_.super;
    const std::int64_t end = std::min<std::int64_t>(first + groups_.super, count_);
    const auto part = wanted.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(end - first));
    const float most = static_cast<float>((1 << groups_.scale_bits) - 1);
    const std::uint16_t bits = f32_to_f16(largest(part) / most);
    const float unit = f16_to_f32(bits);
    if (g == first) parts.scale_super.push_back(bits);
    const float asked = wanted[static_cast<std::size_t>(g)];
    const float code = unit > 0 && asked > 0 ? std::clamp(std::round(asked / unit), 1.0f, most) : 0.0f;
    parts.scale_codes.push_back(static_cast<std::uint8_t>(code));
    return unit * code;
  }

  GroupSpec groups_;
  std::span<const float> table_;
  std::uint8_t first_;
  std::int64_t cols_;
  bool search_;
  std::int64_t count_;
};

Result<SiteResult> apply(const SiteProblem& problem, const Params& params) {
  SPARING_CHECK_OK(check_problem("table", problem));
  SPARING_TRY(const std::vector<CodecSpec> specs, codings(params, problem.rows, problem.cols));
  SPARING_TRY(const GroupSpec groups, groups_of(params, problem.cols));
  std::vector<float> table;
  if (is_int8(params)) {
    // -128, code 0, is left unused, so that a weight and its negative are coded alike.
    for (int value = -127; value <= 127; ++value) table.push_back(static_cast<float>(value));
  } else {
    table = table_of(params.choice("table"));
  }
  const RowCoder coder(groups, table, is_int8(params) ? 1 : 0, problem.cols, params.choice("clip") == "mse");
  IntGroupParts parts;
  for (std::int64_t r = 0; r < problem.rows; ++r) {
    const auto row =
        problem.weight.subspan(static_cast<std::size_t>(r * problem.cols), static_cast<std::size_t>(problem.cols));
    SPARING_CHECK_OK(coder.code(row, r, parts));
  }
  SiteResult result;
  result.weight.rows = problem.rows;
  result.weight.cols = problem.cols;
  Term term;
  if (is_int8(params)) {
    SPARING_TRY(term, pack(std::get<IntGroupSpec>(specs.front()), problem.rows, problem.cols, parts));
  } else {
    SPARING_TRY(term, pack(std::get<LutGroupSpec>(specs.front()), problem.rows, problem.cols, parts));
  }
  result.weight.terms.push_back(std::move(term));
  std::vector<float> decoded(problem.weight.size());
  decode_rows(result.weight, 0, problem.rows, decoded.data());
  result.report.weight_error = relative_error(problem.weight, decoded);
  return result;
}

std::vector<ParamSpec> parameters() {
  using Type = ParamSpec::Type;
  return {
      {.name = "table",
       .type = Type::choice,
       .default_value = 0,
       .min = 0,
       .max = 3,
       .choices = {"nf4", "fp4", "e2m1", "int8"},
       .help = "nf4; fp4 as bitsandbytes has it; e2m1, the fp4 of OCP's MX formats; int8 of -127 to 127"},
      group_param(),
      {.name = "scale",
       .type = Type::choice,
       .default_value = 0,
       .min = 0,
       .max = 1,
       .choices = {"f16", "coded8"},
       .help = "scales in f16, or in 8 bits under f16 super-scales (double quantisation)"},
      {.name = "super",
       .type = Type::integer,
       .default_value = 256,
       .min = 1,
       .max = 65536,
       .choices = {},
       .help = "groups of a row under one super-scale"},
      {.name = "clip",
       .type = Type::choice,
       .default_value = 0,
       .min = 0,
       .max = 1,
       .choices = {"none", "mse"},
       .help = "a group's scale: its largest magnitude, or searched for the least squared error"},
      basis_param(false),
  };
}

}  // namespace

extern const Method table_method;
const Method table_method{
    .name = "table",
    .summary = "Rounds to fixed tables: nf4, two kinds of fp4, int8, with double quantisation of the scales",
    .paper = "arXiv:2305.14314",
    .kind = MethodKind::weights,
    .traits =
        {.compressed = "weights", .deploy = "quantisation", .prune = "none", .peft = "none", .calibration = "none"},
    .approximate = false,
    .params = parameters(),
    .codings = codings,
    .transform = basis_transform,
    .corrects = nullptr,
    .apply = in_basis<apply>,
    .claims =
        {
            {.id = "table-nf4-symmetric",
             .text = "At 4 bits and the same scales, nf4's points serve better than evenly spaced ones",
             .ours = {"table", "table=nf4 group=64"},
             .baseline = {"rtn", "bits=4 group=64 symmetric=true"}},
            {.id = "table-nf4-asymmetric",
             .text = "At 4 bits, nf4 serves better than evenly spaced points with a zero, whose groups are a little "
                     "larger for it",
             .ours = {"table", "table=nf4 group=64"},
             .baseline = {"rtn", "bits=4 group=64..96:4"}},
            {.id = "table-nf4-fp4",
             .text = "nf4 serves better than bitsandbytes' fp4",
             .ours = {"table", "table=nf4 group=64"},
             .baseline = {"table", "table=fp4 group=64"}},
            {.id = "table-nf4-e2m1",
             .text = "nf4 serves better than the fp4 of OCP's MX formats",
             .ours = {"table", "table=nf4 group=64"},
             .baseline = {"table", "table=e2m1 group=64"}},
            {.id = "table-double",
             .text = "Scales coded in 8 bits let groups be small enough to serve better than scales in f16",
             .ours = {"table", "table=nf4 group=32 scale=coded8"},
             .baseline = {"table", "table=nf4 group=32..64:4"}},
        },
};

}  // namespace sparing
