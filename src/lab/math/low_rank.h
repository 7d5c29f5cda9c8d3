#pragma once
// Best approximations of low rank in the metric of the inputs, and their coding. One mathematics under several names:
// the left singular vectors of W H^1/2 (whitened SVD; EoRA, arXiv:2410.21271, takes W's coding error for W) are the
// principal components of the outputs W x (LoRD, arXiv:2309.14021; AFM).

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "codecs/lowrank.h"
#include "lab/math/obq.h"

namespace sparing::math {

/// W ~ outer' inner.
struct LowRank {
  std::int64_t rank = 0;
  std::vector<float> outer;    ///< [rank, rows], unit rows at right angles; zeros beyond W's own rank
  std::vector<float> inner;    ///< [rank, cols]: outer W
  std::vector<double> energy;  ///< [rank], descending: what each component takes off tr(W H W')
};

/// The minimiser of tr((W - outer' inner) H (W - outer' inner)'), W [rows, cols]; H [cols, cols] symmetric positive
/// definite, or empty for the identity (plain SVD). 1 <= rank <= min(rows, cols). Errors: values whose squares
/// overflow.
Result<LowRank> best_low_rank(std::span<const float> weight, std::int64_t rows, std::int64_t cols,
                              std::span<const float> h, std::int64_t rank, ThreadPool& pool);

/// Factors as they will be stored.
struct CodedFactors {
  FactorParts outer, inner;
};

/// Of a matrix [rows, cols] whose column c has been multiplied by scales[c] > 0: the inner factor is divided by them
/// again and both are rounded, errors of column c weighed by scales[c]^2. Errors as code_low_rank.
Result<CodedFactors> code_scaled_factors(const LowRankSpec& spec, std::span<const float> scaled, std::int64_t rows,
                                         std::span<const float> scales, const LowRank& factors, ThreadPool& pool);

/// Codes the factors: outer is rounded, inner fitted anew to what outer has become and coded with error feedback in the
/// metric. Error: factors too large for f16 scales.
Result<Term> code_low_rank(const LowRankSpec& spec, std::span<const float> weight, std::int64_t rows,
                           const Metric& metric, const LowRank& factors, ThreadPool& pool);

}  // namespace sparing::math
