// The interpreter against transformers' logits (tests/golden/make_runtime_golden.py), and calibration's promises.

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <set>

#include "base/interrupt.h"
#include "base/rng.h"
#include "kernels/split_product.h"
#include "lab/activations.h"
#include "lab/calibrate.h"
#include "lab/causal_attention.h"
#include "lab/interpreter.h"
#include "runtime/golden.h"

namespace sparing {
namespace {

using testing::FormulaCheckpoint;
using testing::golden;
using testing::golden_config;

class InterpreterGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(InterpreterGolden, LogitsMatchInEveryDtype) {
  const auto want = golden(GetParam());
  ASSERT_TRUE(want.is_object());
  const FormulaCheckpoint checkpoint(golden_config(GetParam()));
  const auto tokens = want["tokens"].get<std::vector<Token>>();
  for (const auto& [dtype, tolerance] : {std::pair{at::kFloat, 1e-4}, {at::kDouble, 1e-4}, {at::kBFloat16, 0.5}}) {
    const auto logits = lab::logits(checkpoint, tokens, dtype);
    ASSERT_TRUE(logits.ok()) << logits.error().message;
    const at::Tensor got = logits->to(at::kFloat).contiguous();
    for (std::size_t p = 0; p < want["positions"].size(); ++p) {
      const float* row = got.data_ptr<float>() + want["positions"][p].get<std::int64_t>() * got.size(1);
      for (std::size_t i = 0; i < static_cast<std::size_t>(got.size(1)); ++i)
        EXPECT_NEAR(row[i], want["logits"][p][i].get<float>(), tolerance);
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Models, InterpreterGolden, ::testing::Values("llama", "mistral", "qwen2", "qwen3"));

TEST(Interpreter, SmolLM2LogitsMatch) {
  const char* folder = std::getenv("SPARING_MODELS");
  const std::filesystem::path path = std::filesystem::path(folder ? folder : "models") / "smollm2.gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is missing: run 'make model' or set SPARING_MODELS";
  const auto checkpoint = open_checkpoint(path.string());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  const auto want = golden("smollm2");
  const auto logits = lab::logits(**checkpoint, want["tokens"].get<std::vector<Token>>());
  ASSERT_TRUE(logits.ok()) << logits.error().message;
  double worst = 0;
  for (std::size_t p = 0; p < want["positions"].size(); ++p) {
    const float* row = logits->data_ptr<float>() + want["positions"][p].get<std::int64_t>() * logits->size(1);
    for (std::size_t i = 0; i < want["ids"].size(); ++i)
      worst = std::max(worst, std::abs(row[want["ids"][i].get<std::size_t>()] - want["logits"][p][i].get<double>()));
  }
  EXPECT_LT(worst, 2e-3);
}

// By blocks of queries as all at once: lengths that blocks do and do not divide, groups of heads, windows.
TEST(CausalAttention, BlocksGiveWhatTheWholeDoes) {
  const at::NoGradGuard no_grad;
  Rng rng(5);
  const auto drawn = [&](std::int64_t rows, std::int64_t width) {
    at::Tensor x = at::empty({rows, width}, at::kDouble);
    for (std::int64_t i = 0; i < x.numel(); ++i) x.data_ptr<double>()[i] = rng.normal();
    return x;
  };
  for (const std::int64_t tokens : {1, 33, 128, 300})
    for (const std::int32_t kv_heads : {1, 3})
      for (const std::int32_t window : {0, 7, 150}) {
        const Op op{.kind = OpKind::attention, .heads = 6, .kv_heads = kv_heads, .head_dim = 8, .window = window};
        const at::Tensor q = drawn(tokens, 48), k = drawn(tokens, 8 * kv_heads), v = drawn(tokens, 8 * kv_heads);
        const at::Tensor whole = lab::attention(q, k, v, op, 1), blocks = lab::causal_attention(q, k, v, op);
        EXPECT_LT((whole - blocks).abs().max().item<double>(), 1e-12) << tokens << " " << kv_heads << " " << window;
      }
}

TEST(Interpreter, GradientsFlowThroughABlock) {
  const FormulaCheckpoint checkpoint(golden_config("qwen3"));
  const ModelGraph model = build_graph(checkpoint.config()).value();
  const Graph& block = model.blocks[0];
  lab::Weights weights = lab::load_weights(checkpoint, block, 0, block.ops.size(), at::kDouble).value();
  at::Tensor& down = weights.at("layers.0.mlp.down");
  at::Tensor& q = weights.at("layers.0.attn.q");
  down.requires_grad_(true);
  q.requires_grad_(true);
  lab::RunOptions how;
  how.rotation = lab::rotation(model.config.rope, 5, at::kDouble);
  how.sequences = 2;
  at::Tensor x = at::empty({10, 64}, at::kDouble);
  for (std::int64_t i = 0; i < x.numel(); ++i) x.data_ptr<double>()[i] = std::sin(0.7 * static_cast<double>(i));
  const auto loss = [&] {
    lab::Values values(block.widths.size());
    values[static_cast<std::size_t>(block.input)] = x;
    lab::run(block, 0, block.ops.size(), weights, how, values, false);
    return values[static_cast<std::size_t>(block.output)].square().sum();
  };
  loss().backward();
  for (at::Tensor* weight : {&down, &q}) {
    const double slope = weight->grad().data_ptr<double>()[17];
    double& entry = weight->data_ptr<double>()[17];
    const double here = entry, step = 1e-5;
    entry = here + step;
    const double above = loss().item<double>();
    entry = here - step;
    const double below = loss().item<double>();
    entry = here;
    EXPECT_NEAR(slope, (above - below) / (2 * step), 1e-5 * std::abs(slope) + 1e-6);
  }
}

std::vector<std::vector<Token>> text(std::size_t count, std::size_t length) {
  Rng rng(11);
  std::vector<std::vector<Token>> sequences(count);
  for (auto& sequence : sequences)
    for (std::size_t i = 0; i < length; ++i) sequence.push_back(static_cast<Token>(rng.below(97)));
  return sequences;
}

// Keeps the moments it is given, and halves every weight.
class Halver : public SiteCoder {
 public:
  explicit Halver(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}
  const CodedWeight* finished(const std::string& site) override {
    const auto found = earlier.find(site);
    return found == earlier.end() ? nullptr : &found->second;
  }
  bool wants_statistics(const std::string& site) const override { return site != "head"; }
  Result<CodedWeight> code(const std::string& site, const Statistics* statistics) override {
    order.push_back(site);
    if (statistics) {
      const auto keep = [&](auto& into, std::span<const float> values) {
        into[site].assign(values.begin(), values.end());
      };
      keep(moments, statistics->second_moment);
      keep(input_damage, statistics->input_damage);
      keep(residual_damage, statistics->residual_damage);
    }
    SPARING_TRY(const CodedWeight original, checkpoint_.weight(site));
    Buffer data(static_cast<std::size_t>(original.rows * original.cols) * sizeof(float));
    decode_rows(original, 0, original.rows, data.as<float>().data());
    for (float& v : data.as<float>()) v *= 0.5f;
    return coded[site] = dense_weight(original.rows, original.cols, DType::f32, Blob::of(std::move(data)));
  }
  Status finish_block(const std::string& block) override {
    blocks.push_back(block);
    return {};
  }
  bool wants_damage(const std::string& site) const override { return damage && site != "embed"; }
  std::span<const float> token_weights(const std::string& site) const override {
    const auto found = weights.find(site);
    return found == weights.end() ? std::span<const float>() : found->second;
  }
  bool damage = false;
  std::map<std::string, std::vector<float>> weights;  ///< of tokens, by site
  std::map<std::string, std::vector<float>> moments, input_damage, residual_damage;
  std::map<std::string, CodedWeight> earlier, coded;
  std::vector<std::string> order, blocks;

 private:
  const Checkpoint& checkpoint_;
};

// Inputs of every linear when the weights `coded` stand in, computed sequence by sequence without stages.
std::map<std::string, std::vector<double>> direct_moments(const Checkpoint& checkpoint,
                                                          const std::vector<std::vector<Token>>& sequences,
                                                          const std::map<std::string, CodedWeight>& coded) {
  const ModelGraph model = build_graph(checkpoint.config()).value();
  std::map<std::string, std::vector<double>> moments;
  const auto replaced = [&](const std::string& site) {
    const auto found = coded.find(site);
    return found == coded.end() ? nullptr : &found->second;
  };
  for (const auto& sequence : sequences) {
    lab::RunOptions how;
    how.rms_eps = model.config.rms_eps;
    how.rotation = lab::rotation(model.config.rope, static_cast<std::int64_t>(sequence.size()), at::kFloat);
    how.observe = [&](const Op& op, const at::Tensor& x) {
      const auto n = static_cast<std::size_t>(x.size(1));
      auto& h = moments[op.site];
      h.resize(n * n);
      const at::Tensor rows = x.contiguous();
      for (std::int64_t t = 0; t < x.size(0); ++t) {
        const float* row = rows.data_ptr<float>() + t * x.size(1);
        for (std::size_t i = 0; i < n; ++i)
          for (std::size_t j = 0; j < n; ++j) h[i * n + j] += static_cast<double>(row[i]) * row[j];
      }
    };
    const CodedWeight* table = replaced("embed");
    at::Tensor x =
        lab::decode_rows_of(table ? *table : checkpoint.weight("embed").value(), {sequence.begin(), sequence.end()});
    std::vector<const Graph*> graphs;
    for (const Graph& block : model.blocks) graphs.push_back(&block);
    graphs.push_back(&model.head);
    for (const Graph* graph : graphs) {
      const auto weights = lab::load_weights(checkpoint, *graph, 0, graph->ops.size(), at::kFloat, replaced).value();
      lab::Values values(graph->widths.size());
      values[static_cast<std::size_t>(graph->input)] = x;
      lab::run(*graph, 0, graph->ops.size(), weights, how, values, true);
      x = values[static_cast<std::size_t>(graph->output)];
    }
  }
  return moments;
}

// Of what a forward pass gives, beside libtorch's f32.
double forward_error() {
  return kernels::has_split_products() ? 1e-4 : 1e-5;
}

TEST(Calibrate, MomentsAreThoseOfTheDamagedModelsInputs) {
  for (const bool tied : {false, true}) {
    ModelConfig config = testing::tiny_config();
    config.tied_head = tied;
    const FormulaCheckpoint checkpoint(config);
    const auto sequences = text(5, 33);
    Halver coder(checkpoint);
    const Status status = calibrate(checkpoint, sequences, {.threads = 2}, coder);
    ASSERT_TRUE(status.ok()) << status.error().message;
    auto in_force = coder.coded;
    if (tied) in_force.erase("embed");  // it waits for the head's statistics
    const auto expected = direct_moments(checkpoint, sequences, in_force);
    for (const auto& [site, moment] : coder.moments) {
      const auto& truth = expected.at(site);
      ASSERT_EQ(moment.size(), truth.size()) << site;
      double scale = 0;
      for (const double v : truth) scale = std::max(scale, std::abs(v));
      for (std::size_t i = 0; i < truth.size(); ++i) ASSERT_NEAR(moment[i], truth[i], forward_error() * scale) << site;
    }
    EXPECT_EQ(coder.moments.size(), 3 * 7 + (tied ? 1u : 0u));
    EXPECT_EQ(coder.order.front(), tied ? "layers.0.attn.q" : "embed");
    EXPECT_EQ(coder.order.back(), tied ? "embed" : "head");
    EXPECT_EQ(coder.blocks.size(), 5u - (tied ? 1 : 0));
  }
}

TEST(Calibrate, BitsDependOnNeitherThreadsNorSpillingNorResuming) {
  const FormulaCheckpoint checkpoint(testing::tiny_config());
  const auto sequences = text(7, 40);
  Halver plain(checkpoint);
  ASSERT_TRUE(calibrate(checkpoint, sequences, {.threads = 1}, plain).ok());
  Halver threaded(checkpoint);
  ASSERT_TRUE(calibrate(checkpoint, sequences, {.threads = 3}, threaded).ok());
  EXPECT_TRUE(plain.moments == threaded.moments);
  Halver spilled(checkpoint);
  ASSERT_TRUE(calibrate(checkpoint, sequences, {.threads = 2, .max_ram = 100'000}, spilled).ok());
  EXPECT_TRUE(plain.moments == spilled.moments);
  Halver resumed(checkpoint);
  for (const auto& [site, weight] : plain.coded)
    if (site == "embed" || site.starts_with("layers.0") || site.starts_with("layers.1")) resumed.earlier[site] = weight;
  ASSERT_TRUE(calibrate(checkpoint, sequences, {.threads = 2}, resumed).ok());
  EXPECT_EQ(resumed.moments.size(), 7u);
  for (const auto& [site, moment] : resumed.moments) EXPECT_TRUE(moment == plain.moments.at(site)) << site;
  EXPECT_EQ(resumed.blocks, (std::vector<std::string>{"layers.2", "head"}));
}

// Inputs of one site, sequence by sequence, with some weights replaced.
std::vector<std::vector<float>> inputs_of(const Checkpoint& checkpoint,
                                          const std::vector<std::vector<Token>>& sequences,
                                          const std::map<std::string, CodedWeight>& coded, const std::string& site) {
  std::vector<std::vector<float>> rows;
  const ModelGraph model = build_graph(checkpoint.config()).value();
  const auto replaced = [&](const std::string& name) {
    const auto found = coded.find(name);
    return found == coded.end() ? nullptr : &found->second;
  };
  for (const auto& sequence : sequences) {
    lab::RunOptions how;
    how.rotation = lab::rotation(model.config.rope, static_cast<std::int64_t>(sequence.size()), at::kFloat);
    how.observe = [&](const Op& op, const at::Tensor& x) {
      if (op.site != site) return;
      const at::Tensor all = x.contiguous();
      for (std::int64_t t = 0; t < x.size(0); ++t)
        rows.emplace_back(all.data_ptr<float>() + t * x.size(1), all.data_ptr<float>() + (t + 1) * x.size(1));
    };
    const CodedWeight* table = replaced("embed");
    at::Tensor x =
        lab::decode_rows_of(table ? *table : checkpoint.weight("embed").value(), {sequence.begin(), sequence.end()});
    for (const Graph& block : model.blocks) {
      const auto weights = lab::load_weights(checkpoint, block, 0, block.ops.size(), at::kFloat, replaced).value();
      lab::Values values(block.widths.size());
      values[static_cast<std::size_t>(block.input)] = x;
      lab::run(block, 0, block.ops.size(), weights, how, values, true);
      x = values[static_cast<std::size_t>(block.output)];
    }
  }
  return rows;
}

// Sites that read the same values count tokens by the sum of what they ask for, those that ask for nothing all alike.
TEST(Calibrate, TokensCountByTheirWeights) {
  const FormulaCheckpoint checkpoint(testing::tiny_config());
  const auto sequences = text(3, 21);
  Halver plain(checkpoint), guided(checkpoint);
  plain.damage = guided.damage = true;
  Rng rng(3);
  for (const std::string site : {"layers.1.attn.q", "layers.1.attn.k", "layers.1.attn.o"})
    for (int t = 0; t < 63; ++t) guided.weights[site].push_back(static_cast<float>(rng.uniform()));
  ASSERT_TRUE(calibrate(checkpoint, sequences, {.threads = 2}, plain).ok());
  ASSERT_TRUE(calibrate(checkpoint, sequences, {.threads = 2}, guided).ok());
  for (const std::string site : {"layers.1.attn.v", "layers.1.mlp.up", "layers.0.attn.q"}) {
    EXPECT_TRUE(guided.moments.at(site) == plain.moments.at(site)) << site;
    EXPECT_TRUE(guided.input_damage.at(site) == plain.input_damage.at(site)) << site;
  }
  EXPECT_TRUE(guided.moments.at("layers.1.attn.q") == guided.moments.at("layers.1.attn.k"));
  for (const std::string site : {"layers.1.attn.q", "layers.1.attn.o"}) {
    std::vector<double> weights(63);
    double total = 0;
    for (std::size_t t = 0; t < 63; ++t) {
      weights[t] = guided.weights.at(site)[t];
      if (site.ends_with("q")) weights[t] += guided.weights.at("layers.1.attn.k")[t];
      total += weights[t];
    }
    const auto now = inputs_of(checkpoint, sequences, guided.coded, site),
               before = inputs_of(checkpoint, sequences, {}, site);
    const std::size_t n = now[0].size();
    for (std::size_t i = 0; i < n; i += 5)
      for (std::size_t j = 0; j < n; j += 3) {
        double moment = 0, damage = 0, size = 0;
        for (std::size_t t = 0; t < 63; ++t) {
          const double w = weights[t] * 63 / total;
          moment += w * now[t][i] * now[t][j];
          damage += w * (static_cast<double>(before[t][i]) - now[t][i]) * now[t][j];
          size += w * (std::abs(now[t][i]) + std::abs(before[t][i])) * std::abs(now[t][j]);
        }
        ASSERT_NEAR(guided.moments.at(site)[i * n + j], moment, forward_error() * size + 1e-6) << site;
        ASSERT_NEAR(guided.input_damage.at(site)[i * n + j], damage, forward_error() * size + 1e-6) << site;
      }
  }
}

TEST(Calibrate, DamagesCompareTheOriginalWithTheCodedModel) {
  const FormulaCheckpoint checkpoint(testing::tiny_config());
  const auto sequences = text(3, 21);
  Halver coder(checkpoint);
  coder.damage = true;
  ASSERT_TRUE(calibrate(checkpoint, sequences, {.threads = 2}, coder).ok());
  for (const std::string site : {"layers.0.attn.q", "layers.1.attn.o", "layers.2.mlp.down"}) {
    const auto now = inputs_of(checkpoint, sequences, coder.coded, site),
               before = inputs_of(checkpoint, sequences, {}, site);
    const auto& damage = coder.input_damage.at(site);
    const std::size_t n = now[0].size();
    ASSERT_EQ(damage.size(), n * n);
    for (std::size_t i = 0; i < n; i += 5)
      for (std::size_t j = 0; j < n; j += 3) {
        double sum = 0, size = 0;
        for (std::size_t t = 0; t < now.size(); ++t) {
          const double term = (static_cast<double>(before[t][i]) - now[t][i]) * now[t][j];
          sum += term;
          size += std::abs(term);
        }
        ASSERT_NEAR(damage[i * n + j], sum, forward_error() * size + 1e-6) << site;
      }
  }
  // What layer 0's attention is added to is the embedding, which the coder has halved.
  const auto x = inputs_of(checkpoint, sequences, coder.coded, "layers.0.attn.o");
  const at::Tensor table = lab::decode(checkpoint.weight("embed").value());
  const auto& residual = coder.residual_damage.at("layers.0.attn.o");
  ASSERT_EQ(residual.size(), 64u * 64u);
  for (std::size_t i = 0; i < 64; i += 7)
    for (std::size_t j = 0; j < 64; j += 9) {
      double sum = 0, size = 0;
      for (std::size_t t = 0; t < x.size(); ++t) {
        const Token token = sequences[t / 21][t % 21];
        const double term = 0.5 * table.data_ptr<float>()[static_cast<std::size_t>(token) * 64 + i] * x[t][j];
        sum += term;
        size += std::abs(term);
      }
      EXPECT_NEAR(residual[i * 64 + j], sum, forward_error() * size);
    }
  EXPECT_TRUE(coder.residual_damage.at("layers.0.mlp.up").empty());
}

TEST(Calibrate, SequencesOfSeveralLengthsAreWelcome) {
  const FormulaCheckpoint checkpoint(testing::tiny_config());
  auto sequences = text(3, 20);
  sequences[1].resize(7);
  Halver coder(checkpoint);
  ASSERT_TRUE(calibrate(checkpoint, sequences, {.threads = 2}, coder).ok());
  const auto expected = direct_moments(checkpoint, sequences, coder.coded);
  const auto& got = coder.moments.at("layers.2.mlp.down");
  const auto& truth = expected.at("layers.2.mlp.down");
  for (std::size_t i = 0; i < truth.size(); i += 13) EXPECT_NEAR(got[i], truth[i], forward_error() * truth[0] + 1e-6);
}

TEST(Calibrate, RefusesBadText) {
  const FormulaCheckpoint checkpoint(testing::tiny_config());
  Halver coder(checkpoint);
  EXPECT_EQ(calibrate(checkpoint, {}, {}, coder).error().kind, ErrorKind::usage);
  EXPECT_EQ(calibrate(checkpoint, {{1, 2}, {}}, {}, coder).error().kind, ErrorKind::usage);
  const Status outside = calibrate(checkpoint, {{1, 97}}, {}, coder);
  ASSERT_FALSE(outside.ok());
  EXPECT_NE(outside.error().message.find("97"), std::string::npos);
  EXPECT_FALSE(calibrate(checkpoint, {{1, -1}}, {}, coder).ok());
  EXPECT_TRUE(coder.order.empty());
}

TEST(Calibrate, StopsWhenAskedTo) {
  const FormulaCheckpoint checkpoint(testing::tiny_config());
  Halver coder(checkpoint);
  request_interrupt();
  const Status status = calibrate(checkpoint, text(2, 8), {.threads = 1}, coder);
  clear_interrupt();
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().kind, ErrorKind::interrupted);
}

TEST(Activations, SpillOnlyBeyondTheLimitAndKeepTheirValues) {
  lab::ActivationPool pool(10'000, {});
  auto first = pool.make(10, 200);  // 8,000 bytes
  ASSERT_TRUE(first.ok());
  EXPECT_FALSE(first->spilled());
  auto second = pool.make(1000, 50);
  ASSERT_TRUE(second.ok());
  EXPECT_TRUE(second->spilled());
  for (std::int64_t r = 0; r < 1000; ++r) second->row(r)[r % 50] = static_cast<float>(r);
  second->rest(0, 1000);
  for (std::int64_t r = 0; r < 1000; ++r) EXPECT_EQ(second->row(r)[r % 50], static_cast<float>(r));
  *first = {};
  EXPECT_FALSE(pool.make(10, 200)->spilled());  // the room is free again
  EXPECT_FALSE(pool.make(std::int64_t{1} << 40, std::int64_t{1} << 40).ok());
  const auto nowhere = lab::ActivationPool(1, "/nonexistent/folder").make(10, 10);
  ASSERT_FALSE(nowhere.ok());
  EXPECT_NE(nowhere.error().message.find("/nonexistent/folder"), std::string::npos);
}

}  // namespace
}  // namespace sparing
