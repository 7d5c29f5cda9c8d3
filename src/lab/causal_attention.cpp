#include "lab/causal_attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/softmax.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace sparing::lab {
namespace {

constexpr std::int64_t kQueries = 128;  ///< of a block

}  // namespace

at::Tensor by_group(const at::Tensor& x, const Op& op) {
  const std::int64_t tokens = x.size(0), share = op.heads / op.kv_heads;
  return x.reshape({tokens, op.kv_heads, share, op.head_dim}).permute({1, 2, 0, 3});
}
at::Tensor by_head(const at::Tensor& x, const Op& op) {
  return x.reshape({x.size(0), op.kv_heads, op.head_dim}).transpose(0, 1).contiguous();
}

std::vector<Span> spans_of(std::int64_t tokens, std::int64_t window) {
  std::vector<Span> spans;
  for (std::int64_t q = 0; q < tokens; q += kQueries) {
    const std::int64_t count = std::min(kQueries, tokens - q),
                       key = window > 0 ? std::max<std::int64_t>(0, q - window + 1) : 0;
    spans.push_back({q, count, key, q + count - key});
  }
  return spans;
}

at::Tensor queries_of(const at::Tensor& grouped, const Span& s) {
  return grouped.slice(2, s.query, s.query + s.queries).reshape({grouped.size(0), -1, grouped.size(3)});
}

at::Tensor probabilities(const at::Tensor& queries, const at::Tensor& keys, const Span& s, const Op& op) {
  // Row i is query s.query + i, column j key s.key + j.
  const std::int64_t first = s.query - s.key, share = op.heads / op.kv_heads;
  at::Tensor hidden = at::full({s.queries, s.keys}, -std::numeric_limits<float>::infinity(), queries.options());
  hidden = hidden.triu_(first + 1);
  if (op.window > 0) {
    at::Tensor early = at::full({s.queries, s.keys}, -std::numeric_limits<float>::infinity(), queries.options());
    hidden += early.tril_(first - op.window);
  }
  const at::Tensor scores = at::baddbmm(hidden.repeat({share, 1}).unsqueeze(0), queries,
                                        keys.slice(1, s.key, s.key + s.keys).transpose(1, 2));
  return at::softmax(scores, -1);
}

at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Op& op) {
  const at::Tensor grouped = by_group(q * (1.0 / std::sqrt(static_cast<double>(op.head_dim))), op),
                   keys = by_head(k, op), values = by_head(v, op);
  at::Tensor out = at::empty({q.size(0), op.kv_heads, op.heads / op.kv_heads, op.head_dim}, q.options());
  for (const Span& s : spans_of(q.size(0), op.window)) {
    const at::Tensor p = probabilities(queries_of(grouped, s), keys, s, op);
    const at::Tensor mixed = at::bmm(p, values.slice(1, s.key, s.key + s.keys));
    out.slice(0, s.query, s.query + s.queries)
        .permute({1, 2, 0, 3})
        .copy_(mixed.reshape({op.kv_heads, -1, s.queries, op.head_dim}));
  }
  return out.reshape(q.sizes());
}

}  // namespace sparing::lab
