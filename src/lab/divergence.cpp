#include "lab/divergence.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/log_softmax.h>

namespace sparing::lab {
namespace {

constexpr std::int64_t kTokens = 128, kVocabulary = 8192;  ///< at a time

double sum_of(const at::Tensor& log_p, const at::Tensor& log_q, const at::Tensor& p) {
  return static_cast<double>((log_p - log_q).mul_(p).sum(-1).to(at::kDouble).sum().item<double>());
}

/// Logits in f32 whatever the head's dtype, without a whole copy of it.
at::Tensor exact_log_probabilities(const at::Tensor& hidden, const at::Tensor& head) {
  const at::Tensor x = hidden.to(at::kFloat), logits = at::empty({x.size(0), head.size(0)}, x.options());
  for (std::int64_t v = 0; v < head.size(0); v += kVocabulary) {
    const std::int64_t end = std::min(v + kVocabulary, head.size(0));
    logits.slice(1, v, end).copy_(at::linear(x, head.slice(0, v, end).to(at::kFloat)));
  }
  return at::log_softmax(logits, -1);
}

}  // namespace

double divergence(const HeadPair& pair) {
  double sum = 0;
  for (std::int64_t t = 0; t < pair.hidden.size(0); t += kTokens) {
    const std::int64_t end = std::min(t + kTokens, pair.hidden.size(0));
    const at::Tensor log_p = exact_log_probabilities(pair.original_hidden.slice(0, t, end), pair.original_head),
                     log_q = exact_log_probabilities(pair.hidden.slice(0, t, end), pair.head);
    sum += sum_of(log_p, log_q, log_p.exp());
  }
  return sum;
}

double divergence_gradient(const HeadPair& pair, at::Tensor& by_logits) {
  double sum = 0;
  const at::ScalarType dtype = pair.head.scalar_type();
  by_logits = at::empty({pair.hidden.size(0), pair.head.size(0)}, pair.head.options());
  for (std::int64_t t = 0; t < pair.hidden.size(0); t += kTokens) {
    const std::int64_t end = std::min(t + kTokens, pair.hidden.size(0));
    const auto log_probabilities = [&](const at::Tensor& hidden, const at::Tensor& weight) {
      return at::log_softmax(at::linear(hidden.slice(0, t, end).to(dtype), weight).to(at::kFloat), -1);
    };
    const at::Tensor log_p = log_probabilities(pair.original_hidden, pair.original_head),
                     log_q = log_probabilities(pair.hidden, pair.head), p = log_p.exp();
    sum += sum_of(log_p, log_q, p);
    by_logits.slice(0, t, end).copy_(log_q.exp().sub_(p));
  }
  return sum;
}

}  // namespace sparing::lab
