// Healing: hand-written gradients against autograd and differences, and what training end to end promises.

#include "lab/heal.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/log_softmax.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/interrupt.h"
#include "base/rng.h"
#include "lab/backward.h"
#include "lab/divergence.h"
#include "lab/math/grid.h"
#include "lab/student.h"
#include "runtime/test_model.h"

namespace sparing {
namespace {

using testing::FormulaCheckpoint;
using testing::random_text;

at::Tensor random_tensor(std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
  Rng rng(seed);
  at::Tensor x = at::empty({rows, cols}, at::kFloat);
  for (std::int64_t i = 0; i < x.numel(); ++i) x.data_ptr<float>()[i] = static_cast<float>(rng.normal());
  return x;
}

double relative_difference(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).norm() / b.norm()).item<double>();
}

/// Every architecture's blocks, with and without windows, QK norms and biases; more queries than are scored at once.
TEST(Backward, GradientsAreAutograds) {
  for (const auto* name : {"llama", "mistral", "qwen2", "qwen3"}) {
    SCOPED_TRACE(name);
    ModelConfig config = testing::tiny_config();
    config.architecture = name;
    config.o_bias = config.mlp_bias = config.qkv_bias = std::string(name) == "llama";
    config.qk_norm = std::string(name) == "qwen3";
    if (std::string(name) == "mistral") config.sliding_window = 20;
    const FormulaCheckpoint checkpoint(config);
    const Graph block = build_graph(config).value().blocks[0];
    const std::int64_t tokens = 150;
    lab::RunOptions how;
    how.rotation = lab::rotation(config.rope, tokens, at::kFloat);
    lab::Weights weights = lab::load_weights(checkpoint, block, 0, block.ops.size(), at::kFloat).value();
    const at::Tensor x = random_tensor(tokens, config.hidden, 1), by_output = random_tensor(tokens, config.hidden, 2);

    std::map<std::string, at::Tensor> got;
    lab::Tape tape;
    const at::Tensor y = tape.forward(block, 0, block.ops.size(), weights, how, x);
    const at::Tensor by_x = tape.backward(
        by_output, [&](const std::string& site, const at::Tensor& gradient) { got[site] = gradient.clone(); });

    const at::AutoGradMode with_gradients(true);
    for (auto& [site, weight] : weights) weight.requires_grad_(true);
    lab::Values values(block.widths.size());
    const at::Tensor start = x.clone().requires_grad_(true);
    values[static_cast<std::size_t>(block.input)] = start;
    lab::run(block, 0, block.ops.size(), weights, how, values, true);
    const at::Tensor expected = values[static_cast<std::size_t>(block.output)];
    EXPECT_LT(relative_difference(y, expected), 1e-5);
    (expected * by_output).sum().backward();
    EXPECT_LT(relative_difference(by_x, start.grad()), 1e-5);
    EXPECT_EQ(got.size(), weights.size());
    for (const auto& [site, weight] : weights)
      EXPECT_LT(relative_difference(got.at(site), weight.grad()), 2e-5) << site;
  }
}

TEST(Backward, Bf16ProductsComeNear) {
  const FormulaCheckpoint checkpoint(testing::tiny_config());
  const Graph block = build_graph(checkpoint.config()).value().blocks[0];
  lab::RunOptions how;
  how.rotation = lab::rotation(checkpoint.config().rope, 33, at::kFloat);
  lab::Weights exact = lab::load_weights(checkpoint, block, 0, block.ops.size(), at::kFloat).value(), rough = exact;
  for (auto& [site, weight] : rough)
    if (weight.dim() == 2) weight = weight.to(at::kBFloat16);
  const at::Tensor x = random_tensor(33, checkpoint.config().hidden, 1),
                   dy = random_tensor(33, checkpoint.config().hidden, 2);
  std::map<std::string, at::Tensor> gradients[2];
  for (const int run : {0, 1}) {
    lab::Tape tape;
    tape.forward(block, 0, block.ops.size(), run == 0 ? exact : rough, how, x);
    tape.backward(dy, [&](const std::string& site, const at::Tensor& g) { gradients[run][site] = g.to(at::kFloat); });
  }
  for (const auto& [site, gradient] : gradients[0])
    EXPECT_LT(relative_difference(gradients[1].at(site), gradient), 0.03) << site;
}

TEST(Divergence, IsKlAndItsGradientIsTheDifferenceOfProbabilities) {
  const std::int64_t tokens = 140, hidden = 16, vocab = 50;
  const at::Tensor a = random_tensor(tokens, hidden, 1), b = random_tensor(tokens, hidden, 2),
                   head = random_tensor(vocab, hidden, 3), other = random_tensor(vocab, hidden, 4);
  const lab::HeadPair pair{.original_hidden = a, .original_head = head, .hidden = b, .head = other};
  const at::Tensor log_p = at::log_softmax(a.mm(head.t()), -1);
  const at::AutoGradMode with_gradients(true);
  const at::Tensor logits = b.mm(other.t()).requires_grad_(true), log_q = at::log_softmax(logits, -1);
  const at::Tensor expected = (log_p.exp() * (log_p - log_q)).sum();
  expected.backward();
  at::Tensor by_logits;
  EXPECT_NEAR(lab::divergence(pair), expected.item<double>(), 1e-3 * expected.item<double>());
  EXPECT_NEAR(lab::divergence_gradient(pair, by_logits), expected.item<double>(), 1e-3 * expected.item<double>());
  EXPECT_LT(relative_difference(by_logits, logits.grad()), 1e-5);
}

/// The tiny model with every matrix rounded to few bits; f16_min here and integer zeros there.
std::map<std::string, CodedWeight> rounded_model(const Checkpoint& checkpoint, int bits = 3) {
  std::map<std::string, CodedWeight> coded;
  ThreadPool pool(1);
  for (const TensorEntry& tensor : checkpoint.tensors()) {
    if (tensor.shape.is_vector()) continue;
    const CodedWeight weight = checkpoint.weight(tensor.shape.name).value();
    std::vector<float> values(static_cast<std::size_t>(weight.rows * weight.cols));
    decode_effective_rows(weight, 0, weight.rows, values.data());
    IntGroupSpec spec;
    spec.bits = bits;
    spec.groups.group = 16;
    spec.zero_offset = 0;
    spec.zero = tensor.shape.name.ends_with("down") ? ZeroKind::f16_min : ZeroKind::integer;
    if (spec.zero == ZeroKind::integer) spec.zero_bits = bits;
    math::IntGrid grid(spec, weight.rows, weight.cols, math::Clip::none);
    math::round_to_nearest(grid, values, {}, pool);
    CodedWeight made;
    made.rows = weight.rows;
    made.cols = weight.cols;
    made.terms.push_back(grid.pack().value());
    coded.emplace(tensor.shape.name, std::move(made));
  }
  return coded;
}

HealProblem problem_on(const Checkpoint& checkpoint, std::int64_t tokens) {
  HealProblem problem{.original = checkpoint,
                      .weights = rounded_model(checkpoint),
                      .sequences = random_text(96, 24, checkpoint.config().vocab, 1),
                      .held_out = random_text(4, 24, checkpoint.config().vocab, 2),
                      .schedule = {}};
  problem.schedule.tokens = tokens;
  problem.schedule.check = tokens / 4;
  problem.schedule.scale_rate = 0.01;
  problem.schedule.vector_rate = 0.01;
  problem.schedule.products = HealSchedule::Products::f32;
  return problem;
}

/// Bytes of every term and vector.
std::string bits_of(const HealResult& result) {
  std::string bits;
  for (const auto& [name, weight] : result.weights)
    for (const Term& term : weight.terms)
      bits.append(reinterpret_cast<const char*>(term.blob.bytes.data()), term.blob.bytes.size());
  for (const auto& [name, vector] : result.vectors)
    bits.append(reinterpret_cast<const char*>(vector.data()), vector.size() * sizeof(float));
  return bits;
}

class TiedAndNot : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Heal, TiedAndNot, ::testing::Bool());

TEST_P(TiedAndNot, TrainingBringsUnseenTextNearerAndKeepsCodesAndSizes) {
  ModelConfig config = testing::tiny_config();
  config.tied_head = GetParam();
  const FormulaCheckpoint checkpoint(config);
  const HealProblem problem = problem_on(checkpoint, 4608);
  std::string bits[2];
  for (const int run : {0, 1}) {
    const auto healed = heal(problem, {.threads = run == 0 ? 1 : 3});
    ASSERT_TRUE(healed.ok()) << healed.error().message;
    EXPECT_LT(healed->report.held_out_after, 0.85 * healed->report.held_out_before);
    EXPECT_LT(healed->report.trained_after, healed->report.trained_before);
    EXPECT_EQ(healed->report.tokens, 4608);
    for (const auto& [name, weight] : healed->weights) {
      const CodedWeight& before = problem.weights.at(name);
      EXPECT_TRUE(validate(weight, true).ok());
      EXPECT_EQ(stored_bytes(weight), stored_bytes(before));
      EXPECT_EQ(unpack(weight.terms[0], weight.rows, weight.cols)->codes,
                unpack(before.terms[0], before.rows, before.cols)->codes);
    }
    bits[run] = bits_of(*healed);
  }
  EXPECT_EQ(bits[0], bits[1]) << "bits depend on threads";
}

/// Of the whole chain: embedding, blocks, head and coding, by the parameters themselves.
TEST(Heal, TheGradientOfAParameterIsTheLosssDifference) {
  const FormulaCheckpoint checkpoint(testing::tiny_config());
  const ModelGraph model = build_graph(checkpoint.config()).value();
  const auto coded = rounded_model(checkpoint, 4);
  lab::Student student = lab::Student::make(checkpoint, model, coded, at::kFloat).value();
  ThreadPool pool(1);
  const std::vector<float> start = student.parameters(), units = student.units();
  const auto tokens = random_text(1, 20, checkpoint.config().vocab, 4).front();
  lab::RunOptions how;
  how.rotation = lab::rotation(checkpoint.config().rope, 20, at::kFloat);
  const std::string& site = model.head.ops.back().site;
  const at::Tensor target = random_tensor(20, checkpoint.config().hidden, 5),
                   head = lab::decode(checkpoint.weight(site).value());
  const auto loss = [&](std::vector<lab::Tape>* tapes, at::Tensor* by_logits, at::Tensor* kept) {
    at::Tensor x = student.embed(tokens);
    std::vector<lab::Tape> own(model.blocks.size() + 1);
    std::vector<lab::Tape>& use = tapes != nullptr ? *tapes : own;
    for (std::size_t b = 0; b < model.blocks.size(); ++b)
      x = use[b].forward(model.blocks[b], 0, model.blocks[b].ops.size(), student.weights(), how, x);
    x = use.back().forward(model.head, 0, model.head.ops.size() - 1, student.weights(), how, x);
    if (kept != nullptr) *kept = x;
    at::Tensor unused;
    return lab::divergence_gradient(
        {.original_hidden = target, .original_head = head, .hidden = x, .head = student.weights().at(site)},
        by_logits != nullptr ? *by_logits : unused);
  };
  student.set(start, pool);
  std::vector<lab::Tape> tapes(model.blocks.size() + 1);
  at::Tensor by_logits, hidden;
  loss(&tapes, &by_logits, &hidden);
  std::vector<float> gradient(start.size());
  const auto sink = [&](const std::string& name, const at::Tensor& g) { student.add_gradient(name, g, gradient); };
  sink(site, by_logits.t().mm(hidden));
  at::Tensor back = by_logits.mm(student.weights().at(site));
  while (!tapes.empty()) {
    back = tapes.back().backward(back, sink);
    tapes.pop_back();
  }
  student.add_embedding_gradient(tokens, back, gradient);
  Rng rng(6);
  // Along random directions: one parameter alone is lost in f16's rounding.
  for (int probe = 0; probe < 6; ++probe) {
    std::vector<float> up = start, down = start;
    double expected = 0;
    for (std::size_t i = 0; i < start.size(); ++i) {
      const float move = units[i] * static_cast<float>(0.002 * rng.normal());
      up[i] += move;
      down[i] -= move;
    }
    student.set(up, pool);
    const std::vector<float> above = student.parameters();
    const double high = loss(nullptr, nullptr, nullptr);
    student.set(down, pool);
    const std::vector<float> below = student.parameters();
    const double low = loss(nullptr, nullptr, nullptr);
    for (std::size_t i = 0; i < start.size(); ++i)
      expected += static_cast<double>(gradient[i]) * static_cast<double>(above[i] - below[i]);
    EXPECT_NEAR(high - low, expected, 0.05 * std::abs(expected) + 1e-3);
  }
}

class Kept final : public HealKeeper {
 public:
  Result<std::optional<std::string>> kept() override { return state; }
  Status keep(std::string_view given) override {
    state = given;
    request_interrupt();
    return {};
  }
  std::optional<std::string> state;
};

TEST_P(TiedAndNot, CodesAreTrainedWhereThatIsAskedFor) {
  ModelConfig config = testing::tiny_config();
  config.tied_head = GetParam();
  const FormulaCheckpoint checkpoint(config);
  HealProblem problem = problem_on(checkpoint, 4608);
  const auto without = heal(problem, {.threads = 2});
  problem.schedule.code_rate = 0.004;
  std::string bits[2];
  for (const int run : {0, 1}) {
    const auto healed = heal(problem, {.threads = run == 0 ? 1 : 3});
    ASSERT_TRUE(healed.ok()) << healed.error().message;
    EXPECT_LT(healed->report.trained_after, 0.9 * without->report.trained_after);
    EXPECT_LT(healed->report.held_out_after, without->report.held_out_after);
    for (const auto& [name, weight] : healed->weights) {
      const CodedWeight& before = problem.weights.at(name);
      EXPECT_TRUE(validate(weight, true).ok());
      EXPECT_EQ(stored_bytes(weight), stored_bytes(before));
      const bool looked_up = name == "embed" && !config.tied_head;
      EXPECT_EQ(unpack(weight.terms[0], weight.rows, weight.cols)->codes ==
                    unpack(before.terms[0], before.rows, before.cols)->codes,
                looked_up)
          << name;
    }
    bits[run] = bits_of(*healed);
  }
  EXPECT_EQ(bits[0], bits[1]) << "bits depend on threads";
}

class CodesOrNot : public ::testing::TestWithParam<double> {};
INSTANTIATE_TEST_SUITE_P(Heal, CodesOrNot, ::testing::Values(0.0, 0.01));

TEST_P(CodesOrNot, AnInterruptedRunEndsWithTheSameBits) {
  const FormulaCheckpoint checkpoint(testing::tiny_config());
  HealProblem problem = problem_on(checkpoint, 2304);
  problem.schedule.code_rate = GetParam();
  const auto whole = heal(problem, {.threads = 2});
  ASSERT_TRUE(whole.ok());
  Kept keeper;
  HealOptions options{.threads = 2};
  options.keeper = &keeper;
  options.seconds_between_states = 0;
  // Interrupted after every step.
  int runs = 0;
  for (;; ++runs) {
    ASSERT_LT(runs, 100);
    const auto part = heal(problem, options);
    clear_interrupt();
    if (part.ok()) {
      EXPECT_EQ(bits_of(*part), bits_of(*whole));
      EXPECT_EQ(part->report.held_out_before, whole->report.held_out_before);
      EXPECT_EQ(part->report.held_out_after, whole->report.held_out_after);
      break;
    }
    ASSERT_EQ(part.error().kind, ErrorKind::interrupted);
  }
  EXPECT_GT(runs, 20);
  // A state that does not fit is as none.
  keeper.state = "SPHEAL02 cut";
  options.seconds_between_states = 1e9;
  const auto again = heal(problem, options);
  clear_interrupt();
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(bits_of(*again), bits_of(*whole));
}

TEST(Heal, StopsWhereTheGainFallsBelowTheRate) {
  const FormulaCheckpoint checkpoint(testing::tiny_config());
  HealProblem problem = problem_on(checkpoint, 4608);
  problem.schedule.stop = 1e6;
  const auto healed = heal(problem, {.threads = 2});
  ASSERT_TRUE(healed.ok());
  EXPECT_TRUE(healed->report.stopped);
  EXPECT_EQ(healed->report.tokens, 1152);
}

TEST(Heal, WhatOnlyGetsWorseStaysAsItWas) {
  const FormulaCheckpoint checkpoint(testing::tiny_config());
  HealProblem problem = problem_on(checkpoint, 1152);
  problem.schedule.scale_rate = 300;
  problem.schedule.clip = 0;
  const auto healed = heal(problem, {.threads = 2});
  ASSERT_TRUE(healed.ok());
  EXPECT_EQ(healed->report.kept_tokens, 0);
  EXPECT_EQ(healed->report.held_out_after, healed->report.held_out_before);
  for (const auto& [name, weight] : healed->weights) {
    const Bytes a = weight.terms[0].blob.bytes, b = problem.weights.at(name).terms[0].blob.bytes;
    EXPECT_TRUE(std::ranges::equal(a, b)) << name;
  }
}

TEST(Heal, NothingToDoIsSaid) {
  const FormulaCheckpoint checkpoint(testing::tiny_config());
  HealProblem untrained = problem_on(checkpoint, 1152), unmeasured = problem_on(checkpoint, 1152);
  untrained.sequences.clear();
  EXPECT_FALSE(heal(untrained, {}).ok());
  unmeasured.held_out.clear();
  EXPECT_FALSE(heal(unmeasured, {}).ok());
}

}  // namespace
}  // namespace sparing
