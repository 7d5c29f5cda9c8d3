#pragma once
// Interprets a model's graph with libtorch, part by part: a block's weights are loaded, used and dropped.

#include <functional>
#include <map>

#include "formats/checkpoint.h"
#include "kernels/split_product.h"
#include "lab/tensor_math.h"
#include "text/tokenizer.h"

namespace sparing::lab {

/// Tensors by canonical name: matrices [rows, cols], vectors [n].
using Weights = std::map<std::string, at::Tensor>;
/// Matrices by canonical name, in halves (split_weights.h).
using SplitWeights = std::map<std::string, kernels::SplitRows>;
/// Values of a graph in flight; undefined tensors where none is held.
using Values = std::vector<at::Tensor>;

/// Every weight that the ops [first, last) of `graph` use, as `options` (dtype and device) ask. `replaced`, if given,
/// may supply another coding of a matrix (nullptr: the checkpoint's).
Result<Weights> load_weights(const Checkpoint& checkpoint, const Graph& graph, std::size_t first, std::size_t last,
                             const at::TensorOptions& options,
                             const std::function<const CodedWeight*(const std::string&)>& replaced = {});

struct RunOptions {
  double rms_eps = 1e-5;
  Rotation rotation;           ///< for the sequences' length
  std::int64_t sequences = 1;  ///< of equal length, one after another in the rows of every value
  /// Products of f32 on the CPU, without gradients, that these take instead of the weights: three of bf16 each.
  const SplitWeights* split = nullptr;
  /// Sees every linear's input before the product.
  std::function<void(const Op&, const at::Tensor&)> observe = {};
};

/// Runs ops [first, last) (no embed) on the values they need; results go into `values`. A matrix of another dtype than
/// the values is multiplied in its own, and the product comes back in theirs. `drop`: values that no later op
/// of the graph reads are released.
void run(const Graph& graph, std::size_t first, std::size_t last, const Weights& weights, const RunOptions& options,
         Values& values, bool drop);

/// Logits [tokens, vocab] of one sequence, whole model, block by block. For tests and small jobs.
Result<at::Tensor> logits(const Checkpoint& checkpoint, const std::vector<Token>& tokens,
                          const at::TensorOptions& options = at::kFloat);

}  // namespace sparing::lab
