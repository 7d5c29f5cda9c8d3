#include "methods/input_basis.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/rng.h"
#include "codecs/transform.h"
#include "lab/math/grid.h"
#include "lab/math/obq.h"
#include "methods/int_grid.h"
#include "methods/site.h"
#include "tensor/half.h"

namespace sparing {
namespace {

constexpr std::int64_t kTriedRows = 64;  ///< of a matrix, that scales are chosen on
constexpr int kExponents = 10;           ///< steps from 0 to 1
constexpr float kLeastScale = 1.0f / 64, kMostScale = 64;

std::size_t at(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

/// T(row) in place of every row of [rows, cols].
void turn_rows(const Transform& t, std::int64_t cols, std::span<float> values, ThreadPool& pool) {
  pool.parallel_for(static_cast<std::int64_t>(values.size()) / cols, 16,
                    [&](std::int64_t begin, std::int64_t end, int) {
                      std::vector<float> turned(at(cols));
                      for (std::int64_t r = begin; r < end; ++r) {
                        const std::span<float> row = values.subspan(at(r * cols), at(cols));
                        apply_transform(t, cols, row.data(), turned.data());
                        std::ranges::copy(turned, row.begin());
                      }
                    });
}

void transpose(std::int64_t n, std::span<float> square) {
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < i; ++j) std::swap(square[at(i * n + j)], square[at(j * n + i)]);
  }
}

/// T M T' of a square M.
std::vector<float> turned_square(const Transform& t, std::int64_t cols, std::span<const float> m, ThreadPool& pool) {
  std::vector<float> turned(m.begin(), m.end());
  for (int side = 0; side < 2 && !turned.empty(); ++side) {
    turn_rows(t, cols, turned, pool);
    transpose(cols, turned);
  }
  return turned;
}

/// W T^-1 in place of W [rows, cols].
void turn_weight(const Transform& t, std::int64_t cols, std::span<float> weight, ThreadPool& pool) {
  if (t.kind == TransformKind::hadamard) return turn_rows(t, cols, weight, pool);  // orthogonal: w T' = T w
  const std::vector<float> ones(at(cols), 1.0f);
  std::vector<float> d(at(cols));
  apply_transform(t, cols, ones.data(), d.data());
  for (std::size_t i = 0; i < weight.size(); ++i) weight[i] /= d[i % at(cols)];
}

/// The same for every site of a width: those that read the same input can then turn and quantise it once.
Result<Transform> rotation(std::int64_t cols) {
  Rng rng(static_cast<std::uint64_t>(cols), 0x6861646d);
  std::vector<bool> negative(at(cols));
  for (std::size_t j = 0; j < negative.size(); ++j) negative[j] = rng.below(2) == 1;
  return hadamard_transform(hadamard_block(cols), negative);
}

/// What rounding the tried rows, their inputs scaled by d, to groups of the asked bits does to the outputs.
double rounding_loss(const SiteProblem& problem, const IntGroupSpec& spec, const std::vector<float>& d,
                     std::span<const float> rows, ThreadPool& pool) {
  const std::int64_t n = problem.cols, count = static_cast<std::int64_t>(rows.size()) / n;
  std::vector<float> scaled(rows.begin(), rows.end());
  for (std::size_t i = 0; i < scaled.size(); ++i) scaled[i] /= d[i % at(n)];
  math::IntGrid grid(spec, count, n, math::Clip::none);
  math::round_to_nearest(grid, scaled, {}, pool);
  std::vector<float> decoded = decoded_values(grid);
  for (std::size_t i = 0; i < decoded.size(); ++i) decoded[i] *= d[i % at(n)];
  double sum = 0;
  for (const double loss : math::row_losses(rows, decoded, count, n, problem.statistics->second_moment, pool)) {
    sum += loss;
  }
  return sum;
}

/// AWQ's scales: the inputs' root mean squares to the power that rounding likes best, about 1.
Result<Transform> scales(const SiteProblem& problem, const Params& params, ThreadPool& pool) {
  const std::int64_t n = problem.cols;
  std::vector<float> rows;
  const std::int64_t step = std::max<std::int64_t>(1, problem.rows / kTriedRows);
  for (std::int64_t r = 0; r < problem.rows; r += step) {
    const auto row = problem.weight.subspan(at(r * n), at(n));
    rows.insert(rows.end(), row.begin(), row.end());
  }
  double mean = 0;
  std::vector<double> size(at(n));
  for (std::int64_t j = 0; j < n; ++j) {
    size[at(j)] = std::log2(std::max(1e-12, static_cast<double>(problem.statistics->second_moment[at(j * n + j)])) /
                            static_cast<double>(std::max<std::int64_t>(1, problem.statistics->tokens))) /
                  2;
    mean += size[at(j)] / static_cast<double>(n);
  }
  IntGroupSpec spec;
  spec.bits =
      static_cast<std::int32_t>(params.has("bits") ? std::clamp<std::int64_t>(params.integer("bits"), 2, 8) : 4);
  spec.zero_offset = 1 << (spec.bits - 1);
  const std::int64_t group = params.has("group") ? params.integer("group") : 0;
  spec.groups.group = static_cast<std::int32_t>(group > 0 ? std::min(group, n) : n);
  std::vector<float> best(at(n), 1.0f), d(at(n));
  double least = std::numeric_limits<double>::infinity();
  for (int e = 0; e <= kExponents; ++e) {
    // T(x) = d x: large inputs get smaller, and their weights larger beside the others of their group.
    for (std::int64_t j = 0; j < n; ++j) {
      const auto scale = static_cast<float>(std::exp2((mean - size[at(j)]) * e / kExponents));
      d[at(j)] = f16_to_f32(f32_to_f16(std::clamp(scale, kLeastScale, kMostScale)));
    }
    const double loss = rounding_loss(problem, spec, d, rows, pool);
    if (loss >= least) continue;
    least = loss;
    best = d;
  }
  std::vector<std::uint16_t> halves;
  for (const float f : best) halves.push_back(f32_to_f16(f));
  return diagonal_transform(halves);
}

/// Trains in the basis what the lab sees in the model's own.
class TurnedWeight final : public TrainableWeight {
 public:
  TurnedWeight(std::shared_ptr<TrainableWeight> inner, Transform input, std::int64_t cols)
      : inner_(std::move(inner)), input_(std::move(input)), cols_(cols) {}
  void values(std::span<float> out, ThreadPool& pool) const override {
    inner_->values(out, pool);
    pool.parallel_for(static_cast<std::int64_t>(out.size()) / cols_, 16,
                      [&](std::int64_t begin, std::int64_t end, int) {
                        std::vector<float> scratch(at(cols_));
                        for (std::int64_t r = begin; r < end; ++r)
                          fold_transform(input_, cols_, out.data() + r * cols_, scratch.data());
                      });
  }
  /// W = W' T, so a row's gradient by W' is T of the one by W.
  void step(std::span<const float> gradient, double left, ThreadPool& pool) override {
    std::vector<float> turned(gradient.begin(), gradient.end());
    turn_rows(input_, cols_, turned, pool);
    inner_->step(turned, left, pool);
  }
  void keep() override { inner_->keep(); }
  void recall() override { inner_->recall(); }
  Result<CodedWeight> code() const override {
    SPARING_TRY(CodedWeight weight, inner_->code());
    weight.input = input_;
    return weight;
  }

 private:
  std::shared_ptr<TrainableWeight> inner_;
  Transform input_;
  std::int64_t cols_;
};

}  // namespace

ParamSpec basis_param(bool with_statistics) {
  ParamSpec spec{.name = "basis",
                 .type = ParamSpec::Type::choice,
                 .default_value = 0,
                 .min = 0,
                 .max = 0,
                 .choices = {"none", "hadamard"},
                 .help = "of the inputs, to code in: rotated in blocks (hadamard)"};
  if (with_statistics) {
    spec.choices.push_back("scaled");
    spec.help = "of the inputs, to code in: rotated in blocks (hadamard) or scaled by their sizes (scaled)";
  }
  return spec;
}

TransformKind basis_transform(const Params& params) {
  const std::string_view basis = params.choice("basis");
  if (basis == "none") return TransformKind::identity;
  return basis == "hadamard" ? TransformKind::hadamard : TransformKind::diagonal;
}

Result<SiteResult> apply_in_basis(const SiteProblem& problem, const Params& params, Apply apply) {
  const TransformKind kind = basis_transform(params);
  if (kind == TransformKind::identity) return apply(problem, params);
  SPARING_CHECK_OK(check_problem("basis", problem));
  if (kind == TransformKind::diagonal && problem.statistics == nullptr) {
    return usage_error("[basis] " + problem.site + ": basis=scaled needs calibration statistics: use none or hadamard");
  }
  ThreadPool pool(problem.threads);
  Transform input;
  if (kind == TransformKind::hadamard) {
    SPARING_TRY(input, rotation(problem.cols));
  } else {
    SPARING_TRY(input, scales(problem, params, pool));
  }
  const std::int64_t cols = problem.cols;
  std::vector<float> weight(problem.weight.begin(), problem.weight.end());
  turn_weight(input, cols, weight, pool);
  SiteProblem turned = problem;
  turned.weight = weight;
  Statistics statistics;
  std::vector<float> second_moment, input_damage, residual_damage;
  std::shared_ptr<math::MetricCache::Turned> shared;
  if (problem.statistics != nullptr) {
    statistics = *problem.statistics;
    const auto turn = [&] { return turned_square(input, cols, statistics.second_moment, pool); };
    if (kind == TransformKind::hadamard && statistics.metrics != nullptr) {
      shared = statistics.metrics->turned(turn);
      statistics.metrics = &shared->metrics;
    } else {
      second_moment = turn();
      statistics.metrics = nullptr;  // of other inputs
    }
    input_damage = turned_square(input, cols, statistics.input_damage, pool);
    residual_damage.assign(statistics.residual_damage.begin(), statistics.residual_damage.end());
    turn_rows(input, cols, residual_damage, pool);
    statistics.second_moment = shared ? shared->second_moment : second_moment;
    statistics.input_damage = input_damage;
    statistics.residual_damage = residual_damage;
    turned.statistics = &statistics;
  }
  SPARING_TRY(SiteResult result, apply(turned, params));
  result.weight.input = input;
  if (kind == TransformKind::diagonal) {
    weight.resize(problem.weight.size());
    decode_effective_rows(result.weight, 0, problem.rows, weight.data());
    result.report.weight_error = relative_error(problem.weight, weight);
  }
  if (result.trainable) {
    result.trainable = std::make_shared<TurnedWeight>(std::move(result.trainable), std::move(input), cols);
  }
  return result;
}

}  // namespace sparing
