#include "lab/sensitivity.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>

#include "base/interrupt.h"
#include "base/progress.h"
#include "base/rng.h"
#include "lab/backward.h"
#include "lab/pass.h"

namespace sparing {
namespace {

using lab::ActivationMatrix;
using lab::Weights;
using Sums = std::map<std::string, std::vector<double>>;

constexpr std::int64_t kGroupTokens = 4096;  ///< tokens whose streams are held at once
constexpr std::int64_t kHeadPositions = 64;  ///< positions whose logits are held at once, a thread

bool has_bf16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

/// Sums of the squares of each token's row to `to`.
void put_squares(const at::Tensor& gradient, float* to) {
  const at::Tensor squares = gradient.square().sum(1).to(at::kCPU).contiguous();
  std::copy_n(squares.data_ptr<float>(), squares.numel(), to);
}

void add_squares(const at::Tensor& gradient, std::vector<double>& sums) {
  const at::Tensor squares = gradient.square().sum(0).to(at::kCPU).contiguous();
  sums.resize(static_cast<std::size_t>(squares.numel()));
  for (std::size_t r = 0; r < sums.size(); ++r) sums[r] += static_cast<double>(squares.data_ptr<float>()[r]);
}

Token drawn(std::span<const float> log_probabilities, Rng& rng) {
  double left = rng.uniform();
  for (std::size_t v = 0; v + 1 < log_probabilities.size(); ++v) {
    left -= std::exp(static_cast<double>(log_probabilities[v]));
    if (left < 0) return static_cast<Token>(v);
  }
  return static_cast<Token>(log_probabilities.size() - 1);
}

class Backward {
 public:
  Backward(const Checkpoint& checkpoint, std::uint64_t seed, const CalibrationOptions& options, at::Device device)
      : checkpoint_(checkpoint),
        seed_(seed),
        device_(device),
        bf16_(options.bf16 && device.is_cpu() && has_bf16()),
        pool_(options.threads),
        activations_(options.max_ram, options.scratch) {}

  Result<Sensitivity> run(const std::vector<std::vector<Token>>& sequences);

 private:
  Status group(const std::vector<std::vector<Token>>& sequences, std::size_t number);
  Status forward(const Graph& block, const ActivationMatrix& in, const ActivationMatrix& out);
  Status head(const ActivationMatrix& in, const ActivationMatrix& gradient, std::size_t number);
  Status backward(const Graph& block, const ActivationMatrix& in, const ActivationMatrix& gradient);
  Result<Weights> weights_of(const Graph& graph) const {
    SPARING_TRY(Weights weights, lab::load_weights(checkpoint_, graph, 0, graph.ops.size(),
                                                   at::TensorOptions(at::kFloat).device(device_)));
    for (auto& [name, weight] : weights)
      if (bf16_ && weight.dim() == 2) weight = weight.to(at::kBFloat16);
    return weights;
  }
  /// A sequence's place in a site's sums by token.
  float* by_token(const std::string& site, std::size_t sequence) {
    return by_token_.at(site).data() + before_ + text_.offsets[sequence];
  }
  /// Room for all tokens at every linear site.
  void make_room(std::int64_t tokens) {
    const auto add = [&](const Graph& graph) {
      for (const Op& op : graph.ops)
        if (op.kind == OpKind::linear) by_token_[op.site].resize(static_cast<std::size_t>(tokens));
    };
    for (const Graph& block : model_.blocks) add(block);
    add(model_.head);
  }
  std::size_t sequences() const { return text_.sequences->size(); }
  void for_sequences(const std::function<void(std::size_t)>& body) {
    lab::each_alone(pool_, static_cast<std::int64_t>(sequences()), body);
  }
  void add(const std::vector<Sums>& parts) {
    for (const Sums& part : parts) {
      for (const auto& [site, sums] : part) {
        std::vector<double>& total = sums_[site];
        total.resize(sums.size());
        for (std::size_t r = 0; r < sums.size(); ++r) total[r] += sums[r];
      }
    }
  }

  const Checkpoint& checkpoint_;
  std::uint64_t seed_;
  at::Device device_;
  bool bf16_;
  ThreadPool pool_;
  lab::ActivationPool activations_;
  ModelGraph model_;
  lab::CalibrationText text_;
  Sums sums_;
  std::vector<double> embedding_;
  std::map<std::string, std::vector<float>> by_token_;
  std::int64_t before_ = 0;  ///< tokens of the groups before this one
};

Status Backward::forward(const Graph& block, const ActivationMatrix& in, const ActivationMatrix& out) {
  SPARING_TRY(const Weights weights, weights_of(block));
  for_sequences([&](std::size_t s) {
    const at::NoGradGuard no_grad;
    lab::Values values(block.widths.size());
    values[static_cast<std::size_t>(block.input)] = text_.rows(in, s);
    lab::RunOptions how;
    how.rms_eps = text_.rms_eps;
    how.rotation = text_.rotations.at(text_.length(s));
    lab::run(block, 0, block.ops.size(), weights, how, values, true);
    text_.put_rows(values[static_cast<std::size_t>(block.output)], s, out);
  });
  return {};
}

// Samples a next token at every position; the gradient by the head's input goes to `gradient`.
Status Backward::head(const ActivationMatrix& in, const ActivationMatrix& gradient, std::size_t number) {
  const Graph& graph = model_.head;
  SPARING_TRY(const Weights weights, weights_of(graph));
  std::vector<Sums> parts(sequences());
  for_sequences([&](std::size_t s) {
    const at::AutoGradMode with_gradients(true);
    Rng rng(seed_, (static_cast<std::uint64_t>(number) << 32) + s);
    const at::Tensor all = text_.rows(in, s), by_input = at::empty_like(all);
    for (std::int64_t from = 0; from < text_.length(s); from += kHeadPositions) {
      const std::int64_t count = std::min(kHeadPositions, text_.length(s) - from);
      const at::Tensor x = all.narrow(0, from, count).clone().requires_grad_(true);
      lab::Values values(graph.widths.size());
      values[static_cast<std::size_t>(graph.input)] = x;
      lab::RunOptions how;
      how.rms_eps = text_.rms_eps;
      lab::run(graph, 0, graph.ops.size(), weights, how, values, true);
      const at::Tensor logits = values[static_cast<std::size_t>(graph.output)];
      logits.retain_grad();
      const at::Tensor logs = at::log_softmax(logits, -1);
      const at::Tensor plain = logs.detach().to(at::kCPU).contiguous();
      const std::int64_t vocab = plain.size(1);
      at::Tensor chosen = at::zeros({count, 1}, at::kLong);
      for (std::int64_t i = 0; i < count; ++i) {
        const float* row = plain.data_ptr<float>() + i * vocab;
        chosen.data_ptr<std::int64_t>()[i] = drawn({row, static_cast<std::size_t>(vocab)}, rng);
      }
      logs.gather(1, chosen.to(device_)).sum().backward();
      add_squares(logits.grad(), parts[s][graph.ops.back().site]);
      put_squares(logits.grad(), by_token(graph.ops.back().site, s) + from);
      by_input.narrow(0, from, count).copy_(x.grad());
    }
    text_.put_rows(by_input, s, gradient);
  });
  add(parts);
  return {};
}

// Replaces the gradient by the block's output by that by its input.
Status Backward::backward(const Graph& block, const ActivationMatrix& in, const ActivationMatrix& gradient) {
  SPARING_TRY(const Weights weights, weights_of(block));
  std::vector<Sums> parts(sequences());
  for_sequences([&](std::size_t s) {
    const c10::InferenceMode inference;
    lab::RunOptions how;
    how.rms_eps = text_.rms_eps;
    how.rotation = text_.rotations.at(text_.length(s));
    lab::Tape tape;
    tape.forward(block, 0, block.ops.size(), weights, how, text_.rows(in, s));
    const lab::OutputSink outputs = [&](const Op& op, const at::Tensor& by_output) {
      add_squares(by_output, parts[s][op.site]);
      put_squares(by_output, by_token(op.site, s));
    };
    text_.put_rows(tape.backward(text_.rows(gradient, s).clone(), {}, outputs), s, gradient);
  });
  add(parts);
  return {};
}

Status Backward::group(const std::vector<std::vector<Token>>& sequences, std::size_t number) {
  SPARING_TRY(text_, lab::prepare_text(sequences, model_.config, device_));
  const auto stop = [] { return interrupted_error("fit", "what was measured is kept; the same command goes on"); };
  lab::Pass start(text_, activations_, pool_);
  SPARING_TRY(const CodedWeight table, checkpoint_.weight("embed"));
  SPARING_CHECK_OK(start.embed(table, model_.config.hidden));
  checkpoint_.forget("embed");
  std::vector<ActivationMatrix> streams;
  start.enter(model_.blocks.empty() ? model_.head : model_.blocks.front());
  streams.push_back(start.take(model_.blocks.empty() ? model_.head.input : model_.blocks.front().input));
  for (const Graph& block : model_.blocks) {
    if (interrupted()) return stop();
    SPARING_TRY(ActivationMatrix next, activations_.make(text_.tokens(), model_.config.hidden));
    SPARING_CHECK_OK(forward(block, streams.back(), next));
    streams.back().rest(0, text_.tokens());
    streams.push_back(std::move(next));
  }
  SPARING_TRY(const ActivationMatrix gradient, activations_.make(text_.tokens(), model_.config.hidden));
  SPARING_CHECK_OK(head(streams.back(), gradient, number));
  for (std::size_t b = model_.blocks.size(); b-- > 0;) {
    if (interrupted()) return stop();
    streams.pop_back();
    SPARING_CHECK_OK(backward(model_.blocks[b], streams.back(), gradient));
  }
  embedding_.resize(static_cast<std::size_t>(model_.config.hidden));
  for (std::int64_t t = 0; t < text_.tokens(); ++t) {
    for (std::size_t j = 0; j < embedding_.size(); ++j) {
      const double g = gradient.row(t)[j];
      embedding_[j] += g * g;
    }
  }
  return {};
}

Result<Sensitivity> Backward::run(const std::vector<std::vector<Token>>& sequences) {
  SPARING_TRY(model_, build_graph(checkpoint_.config()));
  Sensitivity result;
  Progress progress("sensitivity", static_cast<std::int64_t>(sequences.size()), "sequence");
  std::size_t number = 0;
  std::int64_t all = 0;
  for (const auto& sequence : sequences) all += static_cast<std::int64_t>(sequence.size());
  make_room(all);
  for (std::size_t first = 0; first < sequences.size(); ++number) {
    std::vector<std::vector<Token>> part;
    std::int64_t tokens = 0;
    do {
      tokens += static_cast<std::int64_t>(sequences[first].size());
      part.push_back(sequences[first++]);
    } while (first < sequences.size() && tokens + static_cast<std::int64_t>(sequences[first].size()) <= kGroupTokens);
    before_ = result.tokens;
    SPARING_CHECK_OK(group(part, number));
    result.tokens += tokens;
    progress.advance(static_cast<std::int64_t>(part.size()));
  }
  progress.finish();
  if (result.tokens == 0) return usage_error("[fit] no text: give at least one sequence of tokens");
  const double scale = 1.0 / static_cast<double>(result.tokens);
  const auto mean = [&](const std::vector<double>& sums) {
    std::vector<float> means;
    for (const double sum : sums) means.push_back(static_cast<float>(sum * scale));
    return means;
  };
  for (const auto& [site, sums] : sums_) result.outputs[site] = mean(sums);
  result.embedding = mean(embedding_);
  result.by_token = std::move(by_token_);
  return result;
}

}  // namespace

Result<Sensitivity> measure_sensitivity(const Checkpoint& checkpoint, const std::vector<std::vector<Token>>& sequences,
                                        std::uint64_t seed, const CalibrationOptions& options) {
  return lab::on_device("fit", options.device,
                        [&](at::Device device) { return Backward(checkpoint, seed, options, device).run(sequences); });
}

}  // namespace sparing
