#pragma once
// Perplexity, and what a candidate model's predictions lose against a reference's.

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/thread_pool.h"
#include "eval/logits.h"
#include "eval/statistics.h"

namespace sparing {

class Engine;

/// Against a reference, over the scored tokens. KL is KL(reference || candidate) in nats.
struct Divergence {
  Estimate ppl_ref;
  Estimate ppl_ratio;  ///< candidate / reference; the error knows that both saw the same tokens
  Estimate kld_mean;
  double kld_median = 0, kld_p90 = 0, kld_p99 = 0, kld_p999 = 0, kld_max = 0;
  Estimate top1_agreement;  ///< share of positions whose most likely token is the same
  Estimate delta_p_mean;    ///< p_candidate(token) - p_reference(token)
  double delta_p_rms = 0;
  std::vector<double> kld_by_position;  ///< mean over the windows of each scored position
  std::vector<double> kld_by_window;    ///< mean over the scored positions of each window
};

struct EvalReport {
  std::int64_t context = 0, windows = 0, scored_tokens = 0;
  Estimate ppl;  ///< exp(mean -ln p)
  std::optional<Divergence> against;
  double seconds = 0;
};

struct EvalOptions {
  /// After each window, with the report so far.
  std::function<void(const EvalReport& so_far)> on_window;
};

/// Streams window by window; never holds more than positions_at_once() of logits of each model. The result does not
/// depend on threads. Errors: vocabularies that differ, logits that are not finite, an interrupt.
Result<EvalReport> evaluate(LogitsSource& candidate, LogitsSource* reference, const Windows& windows, ThreadPool& pool,
                            const EvalOptions& options = {});

/// {"ppl": ..., "ppl_error": ..., "kld_mean": ..., ...}
nlohmann::json to_json(const EvalReport& report);

}  // namespace sparing
