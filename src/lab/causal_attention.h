#pragma once
// Causal attention within one sequence, a block of queries at a time against the keys that any of them sees: most of
// what the mask hides is never computed. Not for autograd: its backward pass is written by hand (lab/backward.h).

#include <ATen/core/Tensor.h>

#include <vector>

#include "models/graph.h"

namespace sparing::lab {

/// [kv heads, query heads of a group, tokens, head_dim] of x [tokens, heads * head_dim].
at::Tensor by_group(const at::Tensor& x, const Op& op);
/// [kv heads, tokens, head_dim] of x [tokens, kv_heads * head_dim].
at::Tensor by_head(const at::Tensor& x, const Op& op);

/// One block of queries against the keys that any of them sees.
struct Span {
  std::int64_t query, queries, key, keys;
};
std::vector<Span> spans_of(std::int64_t tokens, std::int64_t window);
/// Of by_group's: [kv heads, query heads of a group * queries, head_dim].
at::Tensor queries_of(const at::Tensor& grouped, const Span& span);
/// What each of those queries gives to each key, [kv heads, query heads of a group * queries, keys]; keys: by_head's.
at::Tensor probabilities(const at::Tensor& queries, const at::Tensor& keys, const Span& span, const Op& op);

/// q [tokens, heads * head_dim], k and v [tokens, kv_heads * head_dim].
at::Tensor causal_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Op& op);

}  // namespace sparing::lab
