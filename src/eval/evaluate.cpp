#include "eval/evaluate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/interrupt.h"
#include "eval/distribution.h"

namespace sparing {
namespace {

/// Per scored token, in order: whatever thread computed it, sums over these are the same.
struct Tokens {
  std::vector<double> nll, nll_ref, kl, delta_p, same_top;

  void resize(std::size_t n, bool compared) {
    nll.resize(n);
    if (!compared) return;
    for (auto* values : {&nll_ref, &kl, &delta_p, &same_top}) values->resize(n);
  }
};

/// exp of a mean log with its error: d exp(x) = exp(x) dx.
Estimate exponential(const Estimate& log) {
  const double value = std::exp(log.value);
  return {value, value * log.error};
}

/// `scored`: positions a window, so that token i is at position i % scored.
EvalReport summarise(const Tokens& tokens, std::size_t n, std::size_t scored, bool compared) {
  const auto first = [n](const std::vector<double>& values) { return std::span<const double>(values.data(), n); };
  EvalReport report;
  report.scored_tokens = static_cast<std::int64_t>(n);
  report.ppl = exponential(mean_of(first(tokens.nll)));
  if (!compared) return report;
  Divergence& d = report.against.emplace();
  d.ppl_ref = exponential(mean_of(first(tokens.nll_ref)));
  std::vector<double> ratio(n);
  for (std::size_t i = 0; i < n; ++i) ratio[i] = tokens.nll[i] - tokens.nll_ref[i];
  d.ppl_ratio = exponential(mean_of(ratio));
  d.kld_mean = mean_of(first(tokens.kl));
  std::vector<double> sorted(tokens.kl.begin(), tokens.kl.begin() + static_cast<std::ptrdiff_t>(n));
  std::sort(sorted.begin(), sorted.end());
  d.kld_median = quantile(sorted, 0.5);
  d.kld_p90 = quantile(sorted, 0.9);
  d.kld_p99 = quantile(sorted, 0.99);
  d.kld_p999 = quantile(sorted, 0.999);
  d.kld_max = sorted.back();
  d.top1_agreement = mean_of(first(tokens.same_top));
  d.delta_p_mean = mean_of(first(tokens.delta_p));
  double squares = 0;
  for (std::size_t i = 0; i < n; ++i) squares += tokens.delta_p[i] * tokens.delta_p[i];
  d.delta_p_rms = std::sqrt(squares / static_cast<double>(n));
  d.kld_by_position.assign(scored, 0.0);
  for (std::size_t i = 0; i < n; ++i) d.kld_by_position[i % scored] += tokens.kl[i];
  for (double& kl : d.kld_by_position) kl /= static_cast<double>(n / scored);
  d.kld_by_window.assign(n / scored, 0.0);
  for (std::size_t i = 0; i < n; ++i) d.kld_by_window[i / scored] += tokens.kl[i] / static_cast<double>(scored);
  return report;
}

}  // namespace

Result<EvalReport> evaluate(LogitsSource& candidate, LogitsSource* reference, const Windows& windows, ThreadPool& pool,
                            const EvalOptions& options) {
  const std::int32_t vocab = candidate.vocab();
  if (reference != nullptr && reference->vocab() != vocab) {
    return usage_error("[eval] the candidate has " + std::to_string(vocab) + " tokens and the reference " +
                       std::to_string(reference->vocab()) + ": compare models of one vocabulary");
  }
  for (const Token token : windows.tokens) {
    if (token < 0 || token >= vocab) {
      return input_error("[eval] token " + std::to_string(token) + " is outside the model's vocabulary of " +
                         std::to_string(vocab) + ": the tokenizer is another model's");
    }
  }
  const auto start = std::chrono::steady_clock::now();
  const auto width = static_cast<std::size_t>(vocab);
  const std::int64_t scored = windows.scored(), step = positions_at_once(windows, vocab);
  const bool compared = reference != nullptr;
  Tokens tokens;
  tokens.resize(static_cast<std::size_t>(windows.count * scored), compared);

  EvalReport report;
  for (std::int64_t w = 0; w < windows.count; ++w) {
    if (interrupted()) return interrupted_error("eval");
    SPARING_CHECK_OK(candidate.begin(windows, w));
    if (compared) SPARING_CHECK_OK(reference->begin(windows, w));
    for (std::int64_t from = 0; from < scored; from += step) {
      const std::int64_t count = std::min(step, scored - from);
      SPARING_TRY(const std::span<const float> mine, candidate.scored(from, count));
      std::span<const float> theirs;
      if (compared) {
        SPARING_TRY(theirs, reference->scored(from, count));
      }
      const Token* next = windows.tokens.data() + w * windows.context + windows.first_scored() + from + 1;
      pool.parallel_for(count, 1, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t i = begin; i < end; ++i) {
          const auto row = static_cast<std::size_t>(i) * width;
          const auto at = static_cast<std::size_t>(w * scored + from + i);
          if (!compared) {
            tokens.nll[at] = score_token(mine.subspan(row, width), next[i]).nll;
            continue;
          }
          const TokenComparison c = compare_token(theirs.subspan(row, width), mine.subspan(row, width), next[i]);
          tokens.nll[at] = c.candidate.nll;
          tokens.nll_ref[at] = c.reference.nll;
          tokens.kl[at] = c.kl;
          tokens.delta_p[at] = c.delta_p;
          tokens.same_top[at] = c.candidate.top == c.reference.top ? 1.0 : 0.0;
        }
      });
      for (std::int64_t i = w * scored + from; i < w * scored + from + count; ++i) {
        const auto at = static_cast<std::size_t>(i);
        const bool mine_bad = !std::isfinite(tokens.nll[at]);
        if (mine_bad || (compared && !std::isfinite(tokens.nll_ref[at]))) {
          return input_error(std::string("[eval] the ") + (mine_bad ? "candidate" : "reference") +
                             "'s logits are not finite in window " + std::to_string(w) +
                             ": its weights are broken ('sparing verify' finds where)");
        }
      }
    }
    const bool last = w + 1 == windows.count;
    if (last || options.on_window) {
      report =
          summarise(tokens, static_cast<std::size_t>((w + 1) * scored), static_cast<std::size_t>(scored), compared);
      report.context = windows.context;
      report.windows = w + 1;
      report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      if (options.on_window) options.on_window(report);
    }
  }
  return report;
}

nlohmann::json to_json(const EvalReport& report) {
  nlohmann::json json = {
      {"context", report.context}, {"windows", report.windows},     {"scored_tokens", report.scored_tokens},
      {"ppl", report.ppl.value},   {"ppl_error", report.ppl.error}, {"eval_seconds", report.seconds},
  };
  if (!report.against) return json;
  const Divergence& d = *report.against;
  json.update({
      {"ppl_ref", d.ppl_ref.value},
      {"ppl_ref_error", d.ppl_ref.error},
      {"ppl_ratio", d.ppl_ratio.value},
      {"ppl_ratio_error", d.ppl_ratio.error},
      {"kld_mean", d.kld_mean.value},
      {"kld_mean_error", d.kld_mean.error},
      {"kld_median", d.kld_median},
      {"kld_p90", d.kld_p90},
      {"kld_p99", d.kld_p99},
      {"kld_p999", d.kld_p999},
      {"kld_max", d.kld_max},
      {"top1_agreement", d.top1_agreement.value},
      {"top1_agreement_error", d.top1_agreement.error},
      {"delta_p_mean", d.delta_p_mean.value},
      {"delta_p_rms", d.delta_p_rms},
  });
  return json;
}

}  // namespace sparing
