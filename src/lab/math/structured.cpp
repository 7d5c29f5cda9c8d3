#include "lab/math/structured.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "lab/math/cholesky.h"
#include "lab/math/gemm.h"

namespace sparing::math {
namespace {

constexpr double kMostDamping = 10;

using Doubles = std::vector<double>;

std::size_t at(std::int64_t i) {
  return static_cast<std::size_t>(i);
}

/// h + damping as R R', R upper triangular; damping is raised tenfold while that fails.
Result<Doubles> damped_factor(std::span<const float> h, std::int64_t n, double damping, ThreadPool& pool) {
  double mean = 0;
  for (std::int64_t j = 0; j < n; ++j) mean += static_cast<double>(h[at(j * (n + 1))]) / static_cast<double>(n);
  if (!std::isfinite(mean)) return input_error("[structure] second moments of the inputs are not finite");
  if (!(mean > 0)) mean = 1;  // no signal: every input is as good as another
  for (double share = std::max(damping, 1e-8); share <= kMostDamping; share *= 10) {
    Doubles factor(h.begin(), h.end());
    for (std::int64_t j = 0; j < n; ++j) factor[at(j * (n + 1))] += share * mean;
    if (factor_reversed(n, factor.data(), pool)) return factor;
  }
  return input_error("[structure] second moments of the inputs cannot be factored: they are not finite");
}

/// row <- row R^-1, R [n, n] upper triangular, where the first entry of row that is not 0 is `from`.
void times_inverse(const double* r, std::int64_t n, std::int64_t from, double* row) {
  for (std::int64_t k = from; k < n; ++k) {
    const double x = row[k] / r[k * n + k];
    row[k] = x;
    for (std::int64_t j = k + 1; j < n; ++j) row[j] -= x * r[k * n + j];
  }
}

/// (R R')^-1.
Doubles inverse_of(const Doubles& factor, std::int64_t n, ThreadPool& pool) {
  Doubles half(at(n * n)), whole(at(n * n));
  pool.parallel_for(n, 8, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t i = first; i < last; ++i) {
      half[at(i * (n + 1))] = 1;
      times_inverse(factor.data(), n, i, half.data() + i * n);
    }
  });
  gemm<double>(n, n, n, 1.0, transposed(static_cast<const double*>(half.data()), n),
               rows_of(static_cast<const double*>(half.data()), n), whole.data(), n, pool, Part::upper);
  mirror_upper(n, whole.data());
  return whole;
}

/// The matrix and the inverse of its metric, shrinking group by group. Groups stay contiguous: the last takes the place
/// of one that goes.
class Remaining {
 public:
  Remaining(const GroupedWeight& problem, Doubles inverse, ThreadPool& pool)
      : rows_(problem.rows), stride_(problem.cols), span_(problem.span), groups_(problem.groups()), pool_(pool) {
    inverse_ = std::move(inverse);
    weight_.assign(problem.weight.begin(), problem.weight.end());
    for (std::int64_t r = 0; r < rows_ && !problem.row_weights.empty(); ++r) {
      const double root = std::sqrt(std::max(0.0, static_cast<double>(problem.row_weights[at(r)])));
      for (std::int64_t j = 0; j < stride_; ++j) weight_[at(r * stride_ + j)] *= root;
    }
    names_.resize(at(groups_));
    std::iota(names_.begin(), names_.end(), 0);
  }

  std::int64_t groups() const { return groups_; }
  std::int32_t name(std::int64_t group) const { return names_[at(group)]; }
  std::int64_t find(std::int32_t name) const { return std::ranges::find(names_, name) - names_.begin(); }

  /// What it costs that a group goes now, for each.
  std::vector<double> costs() {
    std::vector<double> cost(at(groups_));
    if (span_ > 1) {
      for (std::int64_t g = 0; g < groups_; ++g) cost[at(g)] = solve(g);
      return cost;
    }
    Doubles squares(at(groups_));
    for (std::int64_t r = 0; r < rows_; ++r) {
      const double* row = weight_.data() + r * stride_;
      for (std::int64_t j = 0; j < groups_; ++j) squares[at(j)] += row[j] * row[j];
    }
    for (std::int64_t j = 0; j < groups_; ++j) cost[at(j)] = squares[at(j)] / inverse_[at(j * (stride_ + 1))];
    return cost;
  }

  /// Takes a group out; what that costs.
  double remove(std::int64_t group) {
    const double cost = solve(group);
    const std::int64_t cols = groups_ * span_, begin = group * span_;
    // pushed_ [rows, span] is w_M ((H^-1)_MM)^-1; the same for every row of H^-1, which is symmetric.
    Doubles block(at(span_ * cols));
    for (std::int64_t i = 0; i < span_; ++i)
      std::copy_n(inverse_.data() + (begin + i) * stride_, cols, block.data() + i * cols);
    const Doubles pushed = std::move(pushed_);
    pool_.parallel_for(rows_, 8, [&](std::int64_t first, std::int64_t last, int) {
      for (std::int64_t r = first; r < last; ++r)
        subtract(pushed.data() + r * span_, block.data(), cols, weight_.data() + r * stride_);
    });
    const Doubles corner = corner_of(group);
    pool_.parallel_for(cols, 8, [&](std::int64_t first, std::int64_t last, int) {
      Doubles share(at(span_));
      for (std::int64_t i = first; i < last; ++i) {
        for (std::int64_t k = 0; k < span_; ++k) share[at(k)] = inverse_[at(i * stride_ + begin + k)];
        // (H^-1)_iM ((H^-1)_MM)^-1
        divide(corner, share.data());
        subtract(share.data(), block.data(), cols, inverse_.data() + i * stride_);
      }
    });
    drop(group);
    return cost;
  }

 private:
  /// (H^-1)_MM as R R'.
  Doubles corner_of(std::int64_t group) {
    const std::int64_t begin = group * span_;
    Doubles corner(at(span_ * span_));
    for (std::int64_t i = 0; i < span_; ++i)
      std::copy_n(inverse_.data() + (begin + i) * stride_ + begin, span_, corner.data() + i * span_);
    for (double more = 0;; more = std::max(more * 10, 1e-12)) {
      Doubles factor = corner;
      for (std::int64_t i = 0; i < span_; ++i) factor[at(i * (span_ + 1))] *= 1 + more;
      if (factor_reversed(span_, factor.data(), pool_) || more > 1) return factor;
    }
  }
  /// x <- x (R R')^-1
  void divide(const Doubles& factor, double* x) const {
    for (std::int64_t j = span_ - 1; j >= 0; --j) {
      for (std::int64_t k = j + 1; k < span_; ++k) x[j] -= x[k] * factor[at(j * span_ + k)];
      x[j] /= factor[at(j * span_ + j)];
    }
    times_inverse(factor.data(), span_, 0, x);
  }
  /// Fills pushed_ and returns sum_r w_rM ((H^-1)_MM)^-1 w_rM'.
  double solve(std::int64_t group) {
    const Doubles factor = corner_of(group);
    pushed_.resize(at(rows_ * span_));
    double sum = 0;
    for (std::int64_t r = 0; r < rows_; ++r) {
      const double* w = weight_.data() + r * stride_ + group * span_;
      double* x = pushed_.data() + r * span_;
      std::copy_n(w, span_, x);
      divide(factor, x);
      for (std::int64_t k = 0; k < span_; ++k) sum += w[k] * x[k];
    }
    return sum;
  }
  void subtract(const double* factors, const double* block, std::int64_t cols, double* row) const {
    for (std::int64_t k = 0; k < span_; ++k)
      for (std::int64_t j = 0; j < cols; ++j) row[j] -= factors[k] * block[k * cols + j];
  }
  void drop(std::int64_t group) {
    const std::int64_t last = --groups_, to = group * span_, from = last * span_;
    names_[at(group)] = names_.back();
    names_.pop_back();
    if (group == last) return;
    for (std::int64_t r = 0; r < rows_; ++r)
      std::copy_n(weight_.data() + r * stride_ + from, span_, weight_.data() + r * stride_ + to);
    for (std::int64_t k = 0; k < span_; ++k)
      std::copy_n(inverse_.data() + (from + k) * stride_, stride_, inverse_.data() + (to + k) * stride_);
    for (std::int64_t i = 0; i < from; ++i)
      std::copy_n(inverse_.data() + i * stride_ + from, span_, inverse_.data() + i * stride_ + to);
  }

  std::int64_t rows_, stride_, span_, groups_;
  ThreadPool& pool_;
  Doubles inverse_, weight_, pushed_;
  std::vector<std::int32_t> names_;
};

}  // namespace

Result<GroupRanking> remove_groups(const GroupedWeight& problem, std::int64_t most, std::span<const std::int32_t> order,
                                   ThreadPool& pool) {
  if (!std::ranges::all_of(problem.weight, [](float w) { return std::isfinite(w); }))
    return input_error("[structure] the weights are not finite");
  SPARING_TRY(const Doubles factor, damped_factor(problem.h, problem.cols, problem.damping, pool));
  Remaining remaining(problem, inverse_of(factor, problem.cols, pool), pool);
  GroupRanking ranking;
  double total = 0;
  for (std::int64_t step = 0; step < std::min(most, problem.groups()); ++step) {
    std::int64_t next = 0;
    if (order.empty()) {
      const std::vector<double> costs = remaining.costs();
      next = std::ranges::min_element(costs) - costs.begin();
    } else {
      next = remaining.find(order[at(step)]);
    }
    ranking.order.push_back(remaining.name(next));
    total += std::max(0.0, remaining.remove(next));
    ranking.loss.push_back(total);
  }
  return ranking;
}

Result<std::vector<double>> leverage_scores(const GroupedWeight& problem, double ridge, ThreadPool& pool) {
  const std::int64_t n = problem.cols;
  SPARING_TRY(const Doubles factor, damped_factor(problem.h, n, ridge, pool));
  const Doubles inverse = inverse_of(factor, n, pool);
  // What was added: the factor's own diagonal says so, whatever damping it took.
  double trace = 0, whole = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    trace += static_cast<double>(problem.h[at(i * (n + 1))]);
    for (std::int64_t j = i; j < n; ++j) whole += factor[at(i * n + j)] * factor[at(i * n + j)];
  }
  const double added = (whole - trace) / static_cast<double>(n);
  std::vector<double> scores(at(problem.groups()));
  for (std::int64_t j = 0; j < problem.groups() * problem.span; ++j)
    scores[at(j / problem.span)] += 1 - added * inverse[at(j * (n + 1))];
  return scores;
}

Result<std::vector<float>> fit_on_inputs(std::span<const float> cross, std::int64_t rows, std::span<const float> h,
                                         std::int64_t cols, std::span<const std::int32_t> kept, double damping,
                                         ThreadPool& pool) {
  const auto n = static_cast<std::int64_t>(kept.size());
  std::vector<float> part(at(n * n));
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = 0; j < n; ++j) part[at(i * n + j)] = h[at(kept[at(i)] * cols + kept[at(j)])];
  SPARING_TRY(const Doubles factor, damped_factor(part, n, damping, pool));
  Doubles columns(at(n * n));  // R'
  for (std::int64_t i = 0; i < n; ++i)
    for (std::int64_t j = i; j < n; ++j) columns[at(j * n + i)] = factor[at(i * n + j)];
  std::vector<float> fitted(at(rows * n));
  pool.parallel_for(rows, 4, [&](std::int64_t first, std::int64_t last, int) {
    Doubles row(at(n));
    for (std::int64_t r = first; r < last; ++r) {
      for (std::int64_t j = 0; j < n; ++j) row[at(j)] = static_cast<double>(cross[at(r * cols + kept[at(j)])]);
      for (std::int64_t j = n - 1; j >= 0; --j) {
        const double x = row[at(j)] / factor[at(j * (n + 1))];
        row[at(j)] = x;
        for (std::int64_t k = 0; k < j; ++k) row[at(k)] -= x * columns[at(j * n + k)];
      }
      times_inverse(factor.data(), n, 0, row.data());
      for (std::int64_t j = 0; j < n; ++j) fitted[at(r * n + j)] = static_cast<float>(row[at(j)]);
    }
  });
  return fitted;
}

}  // namespace sparing::math
