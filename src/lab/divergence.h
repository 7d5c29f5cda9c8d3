#pragma once
// KL(original || coded) over the vocabulary, from final hidden states: logits are computed in chunks and never kept.

#include "lab/tensor_math.h"

namespace sparing::lab {

/// What both models' heads read after their last norm, [tokens, hidden], and the heads, [vocab, hidden].
struct HeadPair {
  const at::Tensor& original_hidden;
  const at::Tensor& original_head;
  const at::Tensor& hidden;
  const at::Tensor& head;
};

/// Sum over tokens, products and sums in f32.
double divergence(const HeadPair& pair);
/// The same with products in the heads' dtype, and its derivatives by the coded model's logits, [tokens, vocab] in that
/// dtype: p_coded - p_original.
double divergence_gradient(const HeadPair& pair, at::Tensor& by_logits);

}  // namespace sparing::lab
