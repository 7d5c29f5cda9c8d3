#pragma once
// Which groups of inputs a matrix can do without, and what the rest becomes: structured optimal brain surgery.
//
// With H = sum_t x_t x_t' of the inputs and rows r whose squared errors cost s_r, leaving the group M out costs at
// least sum_r s_r w_rM ((H^-1)_MM)^-1 w_rM', and the other inputs make up for it by w_r -= w_rM ((H^-1)_MM)^-1
// (H^-1)_M: (Optimal Brain Surgeon, Hassibi and Stork 1993, for groups: ZipLM, arXiv:2302.04089).

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"

namespace sparing::math {

/// Groups in the order in which they go, and what it costs that the first 1, 2, ... of them are gone: `loss` is
/// cumulative, in units of H and the row weights.
struct GroupRanking {
  std::vector<std::int32_t> order;
  std::vector<double> loss;
};

/// A matrix [rows, cols] whose inputs go in groups of `span` consecutive ones.
struct GroupedWeight {
  std::int64_t rows = 0, cols = 0, span = 1;
  std::span<const float> weight;
  std::span<const float> h;            ///< [cols, cols], both triangles
  std::span<const float> row_weights;  ///< [rows], at least 0; empty: all 1
  double damping = 0.01;               ///< added to the diagonal of h, as a share of its mean; raised where it must be
  std::int64_t groups() const { return cols / span; }
};

/// Takes out one group after the other, `most` of them: at each step the cheapest, or, where `order` names groups,
/// those in that order. Errors: values that are not finite.
Result<GroupRanking> remove_groups(const GroupedWeight& problem, std::int64_t most, std::span<const std::int32_t> order,
                                   ThreadPool& pool);

/// Ridge leverage of each group: the sum over its inputs of (H (H + ridge mean(diag H) I)^-1)_jj, the share of an input
/// that the others cannot tell (as MoDeGPT ranks neurons, arXiv:2408.09632). Errors as above.
Result<std::vector<double>> leverage_scores(const GroupedWeight& problem, double ridge, ThreadPool& pool);

/// The matrix [rows, kept] on the inputs `kept` alone that comes nearest to `cross` = sum_t y_t x_t' [rows, cols], the
/// wanted outputs against all inputs: cross_K (H_KK + damping)^-1 (Nystroem's approximation where y = W x). Errors as
/// above.
Result<std::vector<float>> fit_on_inputs(std::span<const float> cross, std::int64_t rows, std::span<const float> h,
                                         std::int64_t cols, std::span<const std::int32_t> kept, double damping,
                                         ThreadPool& pool);

}  // namespace sparing::math
