#pragma once
// Forward and backward passes of a graph on one sequence, by hand: linear layers may multiply in bf16 while the stream,
// norms and softmax stay in f32, only what the backward pass reads is kept, and a weight's gradient is handed out as
// soon as it is known.

#include <functional>

#include "lab/interpreter.h"

namespace sparing::lab {

/// Sees the gradient of a loss by a weight: a matrix [rows, cols] in the products' dtype, or a vector [n] f32. Once per
/// weight and pass. Empty: these gradients are not made.
using GradientSink = std::function<void(const std::string& name, const at::Tensor& gradient)>;
/// Sees the gradient of a loss by what a linear layer gives, [tokens, rows] f32.
using OutputSink = std::function<void(const Op& op, const at::Tensor& gradient)>;

class Tape {
 public:
  /// Ops [first, last) of the graph, which reads one value, on x [tokens, width] f32: what the last of them gives.
  /// weights: matrices in one floating dtype, which products are in; vectors f32. Must outlive the tape.
  at::Tensor forward(const Graph& graph, std::size_t first, std::size_t last, const Weights& weights,
                     const RunOptions& options, const at::Tensor& x);
  /// The gradient by x, given that by the result, [tokens, width] f32. Values are let go on the way.
  at::Tensor backward(const at::Tensor& gradient, const GradientSink& sink, const OutputSink& outputs = {});

 private:
  at::Tensor& value(Value v) { return values_[static_cast<std::size_t>(v)]; }
  const at::Tensor& in(const Op& op, std::size_t i) const { return values_[static_cast<std::size_t>(op.inputs[i])]; }
  void add(Value v, at::Tensor gradient);
  void drop_unread();
  void back(const Op& op, const at::Tensor& gradient, const GradientSink& sink);
  void back_norm(const Op& op, const at::Tensor& gradient, const GradientSink& sink);
  void back_linear(const Op& op, const at::Tensor& gradient, const GradientSink& sink);
  void back_attention(const Op& op, const at::Tensor& gradient);
  void back_swiglu(const Op& op, const at::Tensor& gradient);

  const Graph* graph_ = nullptr;
  const Weights* weights_ = nullptr;
  RunOptions options_;
  std::size_t first_ = 0, last_ = 0;
  Value input_ = -1, output_ = -1;
  Values values_, gradients_;
};

}  // namespace sparing::lab
