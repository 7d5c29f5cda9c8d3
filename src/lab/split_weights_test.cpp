#include "lab/split_weights.h"

#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/isa.h"
#include "runtime/test_model.h"

namespace sparing {
namespace {

using testing::FormulaCheckpoint;

ModelConfig with_biases() {
  ModelConfig config = testing::tiny_config();
  config.qkv_bias = config.o_bias = config.mlp_bias = true;
  return config;
}

struct Block {
  FormulaCheckpoint checkpoint{with_biases()};
  ModelGraph model = build_graph(checkpoint.config()).value();
  const Graph& graph = model.blocks[0];
  lab::Weights weights_in(at::ScalarType type) const {
    return lab::load_weights(checkpoint, graph, 0, graph.ops.size(), type).value();
  }
  std::vector<float> output(const lab::Weights& weights, const lab::SplitWeights* split) const {
    lab::RunOptions how;
    how.rotation = lab::rotation(model.config.rope, 37, at::kFloat);
    how.split = split;
    at::Tensor x = at::empty({37, model.config.hidden}, at::kFloat);
    for (std::int64_t i = 0; i < x.numel(); ++i)
      x.data_ptr<float>()[i] = static_cast<float>(std::sin(0.7 * static_cast<double>(i)));
    lab::Values values(graph.widths.size());
    values[static_cast<std::size_t>(graph.input)] = x;
    lab::run(graph, 0, graph.ops.size(), weights, how, values, true);
    const at::Tensor y = values[static_cast<std::size_t>(graph.output)].detach().contiguous();
    return {y.data_ptr<float>(), y.data_ptr<float>() + y.numel()};
  }
};

TEST(SplitWeights, GiveABlocksOutputWithinTheirBits) {
  if (!kernels::has_split_products()) GTEST_SKIP() << "no AMX-BF16 here";
  const Block block;
  ThreadPool pool(2);
  const lab::Weights weights = block.weights_in(at::kFloat);
  const lab::SplitWeights split = lab::split(block.graph, 0, block.graph.ops.size(), weights, pool);
  EXPECT_EQ(split.size(), 7u);
  const at::NoGradGuard no_grad;
  const std::vector<float> plain = block.output(weights, nullptr), halves = block.output(weights, &split);
  EXPECT_FALSE(plain == halves) << "were they used?";
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < plain.size(); ++i) {
    difference += std::pow(static_cast<double>(plain[i]) - static_cast<double>(halves[i]), 2);
    size += std::pow(static_cast<double>(plain[i]), 2);
  }
  EXPECT_LT(std::sqrt(difference / size), 2e-5);
}

TEST(SplitWeights, AreNotForGradientsNorForOtherTypes) {
  if (!kernels::has_split_products()) GTEST_SKIP() << "no AMX-BF16 here";
  const Block block;
  ThreadPool pool(1);
  EXPECT_TRUE(lab::split(block.graph, 0, block.graph.ops.size(), block.weights_in(at::kBFloat16), pool).empty());
  const lab::Weights weights = block.weights_in(at::kFloat);
  const lab::SplitWeights split = lab::split(block.graph, 0, block.graph.ops.size(), weights, pool);
  const at::AutoGradMode with_gradients(true);
  EXPECT_TRUE(block.output(weights, nullptr) == block.output(weights, &split));
}

TEST(SplitWeights, AreNoneWithAnotherInstructionSet) {
  const Block block;
  ThreadPool pool(1);
  const kernels::Isa before = kernels::chosen_isa();
  ASSERT_TRUE(kernels::choose_isa("reference").ok());
  EXPECT_TRUE(lab::split(block.graph, 0, block.graph.ops.size(), block.weights_in(at::kFloat), pool).empty());
  ASSERT_TRUE(kernels::choose_isa(kernels::name_of(before)).ok());
}

}  // namespace
}  // namespace sparing
