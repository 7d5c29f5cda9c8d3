// QMoE (arXiv:2310.16795): second-order coding on three levels a row, {least, 0, largest}, and a fixed dictionary for
// the runs of zeros that this leaves.

#include <algorithm>
#include <cmath>

#include "codecs/ternary_dict.h"
#include "lab/math/obq.h"
#include "methods/second_order.h"
#include "methods/site.h"
#include "tensor/half.h"

namespace sparing {
namespace {

/// Levels {low, 0, high} for each row, low <= 0 <= high, rounded to half precision; thresholds half way.
class TernaryGrid final : public math::Grid {
 public:
  TernaryGrid(std::int64_t rows, std::int64_t cols, bool search)
      : cols_(cols),
        search_(search),
        codes_(static_cast<std::size_t>(rows * cols)),
        levels_(static_cast<std::size_t>(2 * rows)) {}

  std::int64_t group() const override { return cols_; }
  void fit(std::int64_t row, std::int64_t, std::span<const float> values, std::span<const float> importance) override {
    const auto [least, largest] = std::minmax_element(values.begin(), values.end());
    float low = std::min(*least, 0.0f), high = std::max(*largest, 0.0f);
    if (search_) {
      low = shrunk(low, values, importance);
      high = shrunk(high, values, importance);
    }
    levels_[static_cast<std::size_t>(2 * row)] = f32_to_f16(low);
    levels_[static_cast<std::size_t>(2 * row + 1)] = f32_to_f16(high);
  }
  float code(std::int64_t row, std::int64_t column, float value) override {
    const float low = level(row, 0), high = level(row, 1);
    std::uint8_t& code = codes_[static_cast<std::size_t>(row * cols_ + column)];
    code = value < low / 2 ? std::uint8_t{1} : value > high / 2 ? std::uint8_t{2} : std::uint8_t{0};
    return code == 1 ? low : code == 2 ? high : 0.0f;
  }
  float level(std::int64_t row, std::size_t which) const {
    return f16_to_f32(levels_[static_cast<std::size_t>(2 * row) + which]);
  }
  Result<Term> pack() const {
    for (const std::uint16_t bits : levels_)
      if ((bits & 0x7C00u) == 0x7C00u)
        return input_error("[qmoe] a level is beyond half precision: the weight has values too large to code");
    return pack_ternary(static_cast<std::int64_t>(levels_.size() / 2), cols_, codes_, levels_);
  }
  std::int64_t zeros() const { return std::count(codes_.begin(), codes_.end(), std::uint8_t{0}); }

 private:
  /// Of 32 levels from `extreme` towards 0 the one of the least weighted squared error on its side.
  static float shrunk(float extreme, std::span<const float> values, std::span<const float> importance) {
    float best = extreme;
    double least = INFINITY;
    for (int i = 32; i > 0 && extreme != 0.0f; --i) {
      const float level = extreme * static_cast<float>(i) / 32.0f;
      double loss = 0;
      for (std::size_t j = 0; j < values.size(); ++j) {
        const float v = values[j];
        if (v * extreme <= 0) continue;
        const double e = std::fabs(v) > std::fabs(level) / 2 ? v - level : v;
        loss += (importance.empty() ? 1.0 : importance[j]) * e * e;
      }
      if (loss < least) {
        least = loss;
        best = level;
      }
    }
    return best;
  }

  std::int64_t cols_;
  bool search_;
  std::vector<std::uint8_t> codes_;
  std::vector<std::uint16_t> levels_;
};

Result<std::vector<CodecSpec>> codings(const Params& params, std::int64_t rows, std::int64_t cols) {
  (void)params;
  // How many words the codes will need nobody knows before: .744 bits a weight where 88.5 % are zero.
  const double words = std::ceil(0.744 / 16 * static_cast<double>(rows) * static_cast<double>(cols));
  return std::vector<CodecSpec>{TernaryDictSpec{.words = static_cast<std::int64_t>(words)}};
}

Result<SiteResult> apply(const SiteProblem& problem, const Params& params) {
  const std::int64_t rows = problem.rows, cols = problem.cols;
  ThreadPool pool(problem.threads);
  const double damping = params.real("damping");
  SPARING_TRY(const SharedMetric metric, metric_at("qmoe", problem, {.damping = damping}, pool));
  const std::vector<float> target = corrected_weight(problem, *metric, params.real("correct"), pool);
  TernaryGrid grid(rows, cols, params.choice("levels") == "mse");
  std::vector<float> decoded(target.size());
  const bool round = params.choice("codes") == "nearest";
  pool.parallel_for(rows, 1, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t r = first; r < last; ++r) {
      grid.fit(r, 0, std::span(target).subspan(static_cast<std::size_t>(r * cols), static_cast<std::size_t>(cols)),
               metric->diagonal);
      for (std::int64_t c = 0; c < cols && round; ++c) {
        const auto i = static_cast<std::size_t>(r * cols + c);
        decoded[i] = grid.code(r, c, target[i]);
      }
    }
  });
  if (!round) {
    math::code_with_feedback(target, rows, *metric, {}, grid, decoded, pool);
    if (const std::int64_t sweeps = params.integer("refine"); sweeps > 0)
      math::descend(target, rows, *metric, static_cast<int>(sweeps), grid, decoded, pool);
  }
  SiteResult result;
  result.weight.rows = rows;
  result.weight.cols = cols;
  SPARING_TRY(Term term, grid.pack());
  result.weight.terms.push_back(std::move(term));
  result.report = report_on(problem, decoded, pool);
  result.report.note = second_order_note(*metric, damping, 0);
  const double weights = static_cast<double>(rows) * static_cast<double>(cols);
  result.report.note += (result.report.note.empty() ? "" : ", ") +
                        std::to_string(static_cast<int>(100.0 * static_cast<double>(grid.zeros()) / weights + 0.5)) +
                        " % zeros";
  return result;
}

std::vector<ParamSpec> parameters() {
  using Type = ParamSpec::Type;
  std::vector<ParamSpec> params = {
      {.name = "levels",
       .type = Type::choice,
       .default_value = 0,
       .min = 0,
       .max = 1,
       .choices = {"extremes", "mse"},
       .help =
           "a row's least and largest weight, which leaves most weights zero, or the levels of least squared error"},
      {.name = "codes",
       .type = Type::choice,
       .default_value = 0,
       .min = 0,
       .max = 1,
       .choices = {"second_order", "nearest"},
       .help = "error feedback and coordinate descent, or the nearest level"},
      damping_param(),
      correct_param(0),
      {.name = "refine",
       .type = Type::integer,
       .default_value = 0,
       .min = 0,
       .max = 20,
       .choices = {},
       .help = "sweeps of coordinate descent over the codes afterwards"},
  };
  params[2].default_value = 0.1;
  return params;
}

}  // namespace

extern const Method qmoe_method;
const Method qmoe_method{
    .name = "qmoe",
    .summary = "Three levels a row, coded with feedback, and a dictionary for what is mostly zeros",
    .paper = "arXiv:2310.16795",
    .kind = MethodKind::weights,
    .traits = {.compressed = "weights",
               .deploy = "quantisation",
               .prune = "none",
               .peft = "none",
               .calibration = "activations"},
    .approximate = false,
    .params = parameters(),
    .codings = codings,
    .transform = nullptr,
    .corrects = corrects,
    .apply = apply,
    .schedule = nullptr,
    .estimates = true,
    .no_claim =
        "its size follows from the weights, so no baseline can be given as many bytes beforehand; the tests measure "
        "its code on planted ternary weights",
};

}  // namespace sparing
