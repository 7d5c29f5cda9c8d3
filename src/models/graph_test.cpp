#include "models/graph.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace sparing {
namespace {

ModelConfig small(const std::string& architecture) {
  ModelConfig config;
  config.architecture = architecture;
  config.hidden = 24;
  config.head_dim = 8;
  config.vocab = 50;
  config.context = 64;
  config.layers = {{.heads = 4, .kv_heads = 2, .ffn = 40}, {.heads = 2, .kv_heads = 1, .ffn = 17}};
  config.rope.dimension = 8;
  return config;
}

std::set<std::string> sites(const ModelGraph& model) {
  std::set<std::string> names;
  const auto collect = [&](const Graph& graph) {
    for (const Op& op : graph.ops) {
      if (!op.site.empty()) names.insert(op.site);
      if (!op.bias.empty()) names.insert(op.bias);
    }
  };
  collect(model.embed);
  for (const Graph& block : model.blocks) collect(block);
  collect(model.head);
  return names;
}

TEST(Graph, EveryOpReadsWhatWasWrittenBefore) {
  const auto model = build_graph(small("llama"));
  ASSERT_TRUE(model.ok()) << model.error().message;
  ASSERT_EQ(model->blocks.size(), 2u);
  for (const Graph& graph : model->blocks) {
    std::set<Value> ready{graph.input};
    for (const Op& op : graph.ops) {
      for (const Value v : op.inputs) EXPECT_TRUE(ready.count(v));
      EXPECT_TRUE(ready.insert(op.output).second);
    }
    EXPECT_TRUE(ready.count(graph.output));
    EXPECT_EQ(ready.size(), graph.widths.size());
    EXPECT_EQ(graph.widths[static_cast<std::size_t>(graph.output)], 24);
  }
}

TEST(Graph, WidthsFollowEachLayersConfig) {
  const auto model = build_graph(small("llama"));
  ASSERT_TRUE(model.ok());
  const auto width = [&](std::size_t block, const std::string& site) {
    for (const Op& op : model->blocks[block].ops) {
      if (op.site == site) return model->blocks[block].widths[static_cast<std::size_t>(op.output)];
    }
    return -1;
  };
  EXPECT_EQ(width(0, "layers.0.attn.q"), 32);
  EXPECT_EQ(width(0, "layers.0.attn.v"), 16);
  EXPECT_EQ(width(0, "layers.0.mlp.up"), 40);
  EXPECT_EQ(width(1, "layers.1.attn.q"), 16);
  EXPECT_EQ(width(1, "layers.1.attn.k"), 8);
  EXPECT_EQ(width(1, "layers.1.mlp.gate"), 17);
}

TEST(Graph, NamesWhatTheConfigAsksFor) {
  ModelConfig config = small("qwen3");
  auto names = sites(*build_graph(config));
  EXPECT_TRUE(names.count("head"));
  EXPECT_FALSE(names.count("layers.0.attn.q.bias"));
  EXPECT_FALSE(names.count("layers.0.attn.q_norm"));
  config.tied_head = config.qkv_bias = config.qk_norm = true;
  names = sites(*build_graph(config));
  EXPECT_FALSE(names.count("head"));
  EXPECT_TRUE(names.count("layers.1.attn.k.bias"));
  EXPECT_TRUE(names.count("layers.1.attn.k_norm"));
  EXPECT_FALSE(names.count("layers.1.attn.o.bias"));
}

TEST(Graph, TheConfigMayAskForWideActivationsEverywhere) {
  ModelConfig config = small("llama");
  const auto narrowest = [&] {
    std::int32_t least = 16;
    const ModelGraph model = build_graph(config).value();
    for (const Graph* graph : {&model.embed, &model.blocks[0], &model.blocks[1], &model.head}) {
      for (const Op& op : graph->ops) {
        if (op.kind == OpKind::linear) least = std::min({least, op.activation_bits, op.activation_bits_few});
      }
    }
    return least;
  };
  EXPECT_EQ(narrowest(), 8);
  config.activation_bits = 16;
  EXPECT_EQ(narrowest(), 16);
}

TEST(Graph, UnknownArchitectureIsRefusedWithTheKnownOnes) {
  const auto model = build_graph(small("mamba"));
  ASSERT_FALSE(model.ok());
  EXPECT_NE(model.error().message.find("mamba"), std::string::npos);
  EXPECT_NE(model.error().message.find("qwen3"), std::string::npos);
}

TEST(Rope, PlainLinearAndDivisors) {
  RopeConfig rope{.theta = 10000.0, .dimension = 4, .divisors = {}};
  auto f = rope_frequencies(rope);
  ASSERT_EQ(f.size(), 2u);
  EXPECT_DOUBLE_EQ(f[0], 1.0);
  EXPECT_DOUBLE_EQ(f[1], 0.01);
  rope.scaling = RopeConfig::Scaling::linear;
  rope.factor = 4;
  rope.divisors = {1.0f, 8.0f};
  f = rope_frequencies(rope);
  EXPECT_DOUBLE_EQ(f[0], 0.25);
  EXPECT_DOUBLE_EQ(f[1], 0.01 / 4 / 8);
}

// Values of the published formula computed by hand for Llama 3.2's settings (theta 500000, dimension 64).
TEST(Rope, Llama3) {
  RopeConfig rope{
      .theta = 500000.0, .dimension = 64, .scaling = RopeConfig::Scaling::llama3, .factor = 32.0, .divisors = {}};
  rope.low_frequency_factor = 1.0;
  rope.high_frequency_factor = 4.0;
  rope.original_context = 8192;
  const auto f = rope_frequencies(rope);
  EXPECT_DOUBLE_EQ(f[0], 1.0);
  const double last = std::pow(500000.0, -62.0 / 64.0);
  EXPECT_DOUBLE_EQ(f[31], last / 32);
  const double middle = std::pow(500000.0, -32.0 / 64.0);  // 8192 f / 2 pi = 1.8438 turns: keeps 0.28128
  EXPECT_NEAR(f[16], middle * (0.28128 + 0.71872 / 32), middle * 1e-4);
}

}  // namespace
}  // namespace sparing
