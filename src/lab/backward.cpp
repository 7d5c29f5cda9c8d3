#include "lab/backward.h"

#include <ATen/ops/baddbmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/zeros.h>

#include <cmath>

#include "lab/causal_attention.h"

namespace sparing::lab {
namespace {

at::Tensor f32(const at::Tensor& x) {
  return x.to(at::kFloat);
}

at::Tensor from_head(const at::Tensor& x) {
  return x.transpose(0, 1).reshape({x.size(1), -1});
}

/// The transpose of the rotation: by the opposite angle.
Rotation inverse(const Rotation& rotation) {
  return {rotation.cosine, -rotation.sine};
}

}  // namespace

void Tape::add(Value v, at::Tensor gradient) {
  at::Tensor& sum = gradients_[static_cast<std::size_t>(v)];
  gradient = f32(gradient);
  // In place only where no other value's gradient can be the same tensor.
  sum = sum.defined() ? sum + gradient : std::move(gradient);
}

// The backward pass reads what goes into norms, products, attention and gates; sums and rotations need nothing.
void Tape::drop_unread() {
  std::vector<bool> read(values_.size());
  for (std::size_t i = first_; i < last_; ++i) {
    const Op& op = graph_->ops[i];
    if (op.kind == OpKind::add || op.kind == OpKind::rope || op.kind == OpKind::embed) continue;
    for (const Value v : op.inputs) read[static_cast<std::size_t>(v)] = true;
  }
  for (std::size_t v = 0; v < values_.size(); ++v)
    if (!read[v]) values_[v].reset();
}

at::Tensor Tape::forward(const Graph& graph, std::size_t first, std::size_t last, const Weights& weights,
                         const RunOptions& options, const at::Tensor& x) {
  graph_ = &graph;
  weights_ = &weights;
  options_ = options;
  first_ = first;
  last_ = last;
  values_.assign(graph.widths.size(), {});
  gradients_.assign(graph.widths.size(), {});
  input_ = first == 0 ? graph.input : graph.ops[first].inputs[0];
  output_ = graph.ops[last - 1].output;
  value(input_) = x;
  for (std::size_t i = first; i < last; ++i) {
    const Op& op = graph.ops[i];
    at::Tensor& out = value(op.output);
    switch (op.kind) {
      case OpKind::embed:
        assert(false && "the caller gathers embeddings");
        break;
      case OpKind::rms_norm:
        out = rms_norm(f32(in(op, 0)), weights.at(op.site), op.span, options.rms_eps);
        break;
      case OpKind::linear: {
        const at::Tensor& weight = weights.at(op.site);
        // Kept in the products' dtype: its own gradient is a product with it.
        at::Tensor& input = value(op.inputs[0]);
        input = input.to(weight.scalar_type());
        out = at::linear(input, weight);
        if (!op.bias.empty()) out = f32(out) + weights.at(op.bias);
        break;
      }
      case OpKind::rope:
        out = rope(f32(in(op, 0)), options.rotation, op.heads, op.head_dim);
        break;
      case OpKind::attention:
        out = causal_attention(f32(in(op, 0)), f32(in(op, 1)), f32(in(op, 2)), op);
        break;
      case OpKind::swiglu:
        out = swiglu(f32(in(op, 0)), f32(in(op, 1)));
        break;
      case OpKind::add:
        out = f32(in(op, 0)) + f32(in(op, 1));
        break;
    }
  }
  at::Tensor result = value(output_);
  drop_unread();
  return result;
}

at::Tensor Tape::backward(const at::Tensor& gradient, const GradientSink& sink, const OutputSink& outputs) {
  add(output_, gradient);
  for (std::size_t i = last_; i > first_; --i) {
    const Op& op = graph_->ops[i - 1];
    at::Tensor by_output = std::move(gradients_[static_cast<std::size_t>(op.output)]);
    gradients_[static_cast<std::size_t>(op.output)].reset();
    if (by_output.defined()) {
      if (outputs && op.kind == OpKind::linear) outputs(op, by_output);
      back(op, by_output, sink);
    }
    value(op.output).reset();
  }
  return std::move(gradients_[static_cast<std::size_t>(input_)]);
}

void Tape::back(const Op& op, const at::Tensor& gradient, const GradientSink& sink) {
  switch (op.kind) {
    case OpKind::embed:
      break;
    case OpKind::rms_norm:
      back_norm(op, gradient, sink);
      break;
    case OpKind::linear:
      back_linear(op, gradient, sink);
      break;
    case OpKind::rope:
      add(op.inputs[0], rope(gradient, inverse(options_.rotation), op.heads, op.head_dim));
      break;
    case OpKind::attention:
      back_attention(op, gradient);
      break;
    case OpKind::swiglu:
      back_swiglu(op, gradient);
      break;
    case OpKind::add:
      add(op.inputs[0], gradient);
      add(op.inputs[1], gradient);
      break;
  }
}

// y = w n, n = x r, r = (mean x^2 + eps)^-1/2: dx = r (w dy - n mean(n w dy)).
void Tape::back_norm(const Op& op, const at::Tensor& gradient, const GradientSink& sink) {
  const at::Tensor& weight = weights_->at(op.site);
  const at::Tensor x = f32(in(op, 0)).reshape({gradient.size(0), -1, op.span});
  const at::Tensor dy = gradient.reshape(x.sizes());
  const at::Tensor r = at::rsqrt(x.square().mean(-1, true) + options_.rms_eps), n = x * r;
  at::Tensor by_weight = dy * n;
  if (sink) sink(op.site, by_weight.sum(at::IntArrayRef{0, 1}));
  const at::Tensor mean = by_weight.mul_(weight).mean(-1, true);
  add(op.inputs[0], (dy * weight).sub_(n * mean).mul_(r).reshape(gradient.sizes()));
}

void Tape::back_linear(const Op& op, const at::Tensor& gradient, const GradientSink& sink) {
  const at::Tensor& weight = weights_->at(op.site);
  const at::Tensor dy = gradient.to(weight.scalar_type());
  if (sink && !op.bias.empty()) sink(op.bias, gradient.sum(at::IntArrayRef{0}));
  if (sink) sink(op.site, at::mm(dy.t(), in(op, 0)));
  add(op.inputs[0], at::mm(dy, weight));
}

// P = softmax(Q K'), O = P V: dP = dO V', dS = P (dP - rowsum(P dP)), dQ = dS K, dK = dS' Q, dV = P' dO. P is computed
// again: keeping it would take more memory than everything else.
void Tape::back_attention(const Op& op, const at::Tensor& gradient) {
  const double scale = 1.0 / std::sqrt(static_cast<double>(op.head_dim));
  const at::Tensor q = f32(in(op, 0)), grouped = by_group(q * scale, op), outputs = by_group(gradient, op),
                   keys = by_head(f32(in(op, 1)), op), values = by_head(f32(in(op, 2)), op);
  at::Tensor dq = at::empty({q.size(0), op.kv_heads, op.heads / op.kv_heads, op.head_dim}, q.options()),
             dk = at::zeros(keys.sizes(), q.options()), dv = at::zeros(keys.sizes(), q.options());
  for (const Span& s : spans_of(q.size(0), op.window)) {
    const auto seen = [&](const at::Tensor& x) { return x.slice(1, s.key, s.key + s.keys); };
    const at::Tensor queries = queries_of(grouped, s), by_out = queries_of(outputs, s);
    const at::Tensor p = probabilities(queries, keys, s, op);
    seen(dv).baddbmm_(p.transpose(1, 2), by_out);
    at::Tensor ds = at::bmm(by_out, seen(values).transpose(1, 2)).mul_(p);
    ds.sub_(p * ds.sum(-1, true));
    seen(dk).baddbmm_(ds.transpose(1, 2), queries);
    dq.slice(0, s.query, s.query + s.queries)
        .permute({1, 2, 0, 3})
        .copy_(at::bmm(ds, seen(keys)).mul_(scale).reshape({op.kv_heads, -1, s.queries, op.head_dim}));
  }
  add(op.inputs[0], dq.reshape(q.sizes()));
  add(op.inputs[1], from_head(dk));
  add(op.inputs[2], from_head(dv));
}

// silu'(g) = s (1 + g (1 - s)), s the sigmoid of g.
void Tape::back_swiglu(const Op& op, const at::Tensor& gradient) {
  const at::Tensor gate = f32(in(op, 0)), up = f32(in(op, 1)), s = at::sigmoid(gate);
  add(op.inputs[1], (gate * s).mul_(gradient));
  add(op.inputs[0], (1 - s).mul_(gate).add_(1).mul_(s).mul_(up).mul_(gradient));
}

}  // namespace sparing::lab
