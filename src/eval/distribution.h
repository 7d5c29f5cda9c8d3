#pragma once
// One position's next-token distributions: negative log-likelihood, KL divergence, agreement. f64 from f32 logits.
//
// Sums run over eight fixed lanes, so results are the same on every instruction set.

#include <cstdint>
#include <span>

namespace sparing {

/// A distribution given by logits, judged at the token that came.
struct TokenScore {
  double nll = 0;        ///< -ln p(target); NaN if a logit is NaN or +Inf
  std::int32_t top = 0;  ///< most likely token, the lowest id of several
};
TokenScore score_token(std::span<const float> logits, std::int32_t target);

struct TokenComparison {
  TokenScore reference, candidate;
  double kl = 0;       ///< KL(reference || candidate) in nats, >= 0; NaN if either is
  double delta_p = 0;  ///< p_candidate(target) - p_reference(target)
};
/// Both spans hold the same vocabulary; target is within it.
TokenComparison compare_token(std::span<const float> reference, std::span<const float> candidate, std::int32_t target);

}  // namespace sparing
