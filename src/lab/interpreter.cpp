#include "lab/interpreter.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>

#include "lab/causal_attention.h"

namespace sparing::lab {
namespace {

Result<at::Tensor> load_vector(const Checkpoint& checkpoint, const std::string& name,
                               const at::TensorOptions& options) {
  SPARING_TRY(const std::vector<float> values, checkpoint.vector(name));
  const at::Tensor out = at::empty({static_cast<std::int64_t>(values.size())}, at::kFloat);
  std::copy(values.begin(), values.end(), out.data_ptr<float>());
  return out.to(options);
}

at::Tensor product(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  if (weight.scalar_type() == x.scalar_type()) return at::linear(x, weight, bias);
  const at::Tensor y = at::linear(x.to(weight.scalar_type()), weight).to(x.scalar_type());
  return bias.defined() ? y + bias : y;
}

/// Products of one run with split weights: what reads one value shares its halves.
class SplitProducts {
 public:
  explicit SplitProducts(const SplitWeights* weights) : weights_(weights) {}
  /// Undefined: `x` times this op's weight is not done so.
  at::Tensor product(const Op& op, const at::Tensor& x, const Weights& weights) {
    if (weights_ == nullptr || at::GradMode::is_enabled() || !x.device().is_cpu() || x.scalar_type() != at::kFloat)
      return {};
    const auto found = weights_->find(op.site);
    if (found == weights_->end()) return {};
    thread_local kernels::SplitRows rows;
    if (op.inputs[0] != of_) {
      const at::Tensor whole = x.contiguous();
      rows.set_tokens(whole.data_ptr<float>(), whole.size(0), whole.size(1), whole.size(1));
      of_ = op.inputs[0];
    }
    at::Tensor y = at::empty({x.size(0), found->second.rows()}, x.options());
    kernels::multiply(rows, found->second, y.data_ptr<float>(), y.size(1));
    if (!op.bias.empty()) y.add_(weights.at(op.bias));
    return y;
  }

 private:
  const SplitWeights* weights_;
  Value of_ = -1;
};

bool read_later(const Graph& graph, std::size_t after, Value value) {
  if (value == graph.output) return true;
  for (std::size_t i = after; i < graph.ops.size(); ++i)
    for (const Value input : graph.ops[i].inputs)
      if (input == value) return true;
  return false;
}

}  // namespace

Result<Weights> load_weights(const Checkpoint& checkpoint, const Graph& graph, std::size_t first, std::size_t last,
                             const at::TensorOptions& options,
                             const std::function<const CodedWeight*(const std::string&)>& replaced) {
  Weights weights;
  for (std::size_t i = first; i < last; ++i) {
    const Op& op = graph.ops[i];
    if (op.kind == OpKind::rms_norm) {
      SPARING_TRY(weights[op.site], load_vector(checkpoint, op.site, options));
    } else if (op.kind == OpKind::linear) {
      const CodedWeight* const other = replaced ? replaced(op.site) : nullptr;
      if (other) {
        weights[op.site] = decode(*other).to(options);
        forget(*other);
      } else {
        SPARING_TRY(const CodedWeight original, checkpoint.weight(op.site));
        weights[op.site] = decode(original).to(options);
        checkpoint.forget(op.site);
      }
      if (!op.bias.empty()) {
        SPARING_TRY(weights[op.bias], load_vector(checkpoint, op.bias, options));
      }
    }
  }
  return weights;
}

void run(const Graph& graph, std::size_t first, std::size_t last, const Weights& weights, const RunOptions& options,
         Values& values, bool drop) {
  values.resize(graph.widths.size());
  const auto input = [&](const Op& op, std::size_t i) -> const at::Tensor& {
    return values[static_cast<std::size_t>(op.inputs[i])];
  };
  SplitProducts halves(options.split);
  for (std::size_t i = first; i < last; ++i) {
    const Op& op = graph.ops[i];
    at::Tensor& out = values[static_cast<std::size_t>(op.output)];
    switch (op.kind) {
      case OpKind::embed:
        assert(false && "the caller gathers embeddings");
        break;
      case OpKind::rms_norm:
        out = rms_norm(input(op, 0), weights.at(op.site), op.span, options.rms_eps);
        break;
      case OpKind::linear:
        if (options.observe) options.observe(op, input(op, 0));
        out = halves.product(op, input(op, 0), weights);
        if (!out.defined())
          out = product(input(op, 0), weights.at(op.site), op.bias.empty() ? at::Tensor() : weights.at(op.bias));
        break;
      case OpKind::rope:
        out = rope(input(op, 0), options.rotation, op.heads, op.head_dim);
        break;
      case OpKind::attention:
        out = options.sequences == 1 && !at::GradMode::is_enabled()
                  ? causal_attention(input(op, 0), input(op, 1), input(op, 2), op)
                  : attention(input(op, 0), input(op, 1), input(op, 2), op, options.sequences);
        break;
      case OpKind::swiglu:
        out = swiglu(input(op, 0), input(op, 1));
        break;
      case OpKind::add:
        out = input(op, 0) + input(op, 1);
        break;
    }
    if (!drop) continue;
    for (const Value value : op.inputs)
      if (!read_later(graph, i + 1, value)) values[static_cast<std::size_t>(value)].reset();
  }
}

Result<at::Tensor> logits(const Checkpoint& checkpoint, const std::vector<Token>& tokens,
                          const at::TensorOptions& options) {
  const at::NoGradGuard no_grad;
  SPARING_TRY(const ModelGraph model, build_graph(checkpoint.config()));
  for (const Token token : tokens)
    if (token < 0 || token >= model.config.vocab)
      return input_error("[lab] token " + std::to_string(token) + " is outside the vocabulary of " +
                         std::to_string(model.config.vocab));
  SPARING_TRY(const CodedWeight table, checkpoint.weight("embed"));
  at::Tensor x = decode_rows_of(table, {tokens.begin(), tokens.end()}).to(options);
  RunOptions how;
  how.rms_eps = model.config.rms_eps;
  how.rotation = rotation(model.config.rope, static_cast<std::int64_t>(tokens.size()), options);
  const auto pass = [&](const Graph& graph) -> Status {
    SPARING_TRY(const Weights weights, load_weights(checkpoint, graph, 0, graph.ops.size(), options));
    Values values(graph.widths.size());
    values[static_cast<std::size_t>(graph.input)] = x;
    run(graph, 0, graph.ops.size(), weights, how, values, true);
    x = values[static_cast<std::size_t>(graph.output)];
    return {};
  };
  for (const Graph& block : model.blocks) SPARING_CHECK_OK(pass(block));
  SPARING_CHECK_OK(pass(model.head));
  return x;
}

}  // namespace sparing::lab
