// Files as transformers, safetensors and gguf-py themselves write them (tests/golden/make_formats.py).

#include <gtest/gtest.h>

#include "formats/checkpoint.h"
#include "formats/test_models.h"

namespace sparing {
namespace {

std::filesystem::path golden(const std::string& name) {
  return std::filesystem::path(SPARING_SOURCE_DIR) / "tests/golden/formats" / name;
}

nlohmann::json read_json(const std::string& name) {
  return nlohmann::json::parse(test::read_text(golden(name)), nullptr, false);
}

void expect_digests(const Checkpoint& checkpoint, const nlohmann::json& expected) {
  EXPECT_EQ(checkpoint.tensors().size(), expected.size());
  for (const TensorEntry& entry : checkpoint.tensors()) {
    const TensorShape& shape = entry.shape;
    ASSERT_TRUE(expected.contains(shape.name)) << shape.name;
    std::vector<float> values;
    if (shape.is_vector()) {
      values = *checkpoint.vector(shape.name);
    } else {
      values.resize(static_cast<std::size_t>(shape.rows * shape.cols));
      decode_effective_rows(*checkpoint.weight(shape.name), 0, shape.rows, values.data());
    }
    double sum = 0, weighted = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      sum += static_cast<double>(values[i]);
      weighted += static_cast<double>(values[i]) * static_cast<double>(1 + i % 97);
    }
    EXPECT_EQ(values.size(), expected[shape.name]["count"].get<std::size_t>());
    EXPECT_NEAR(sum, expected[shape.name]["sum"].get<double>(), 1e-9) << shape.name;
    EXPECT_NEAR(weighted, expected[shape.name]["weighted"].get<double>(), 1e-7) << shape.name;
  }
}

TEST(FormatsGolden, ShardedHuggingFaceDirectory) {
  const auto opened = open_checkpoint(golden("hf").string());
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  const ModelConfig& config = (*opened)->config();
  EXPECT_EQ(config.architecture, "llama");
  EXPECT_EQ(config.rope.scaling, RopeConfig::Scaling::llama3);
  EXPECT_EQ(config.rope.theta, 500000.0);
  EXPECT_EQ(config.rope.original_context, 32);
  EXPECT_EQ(config.eos, (std::vector<std::int32_t>{2, 5}));
  EXPECT_FALSE(config.tied_head);
  expect_digests(**opened, read_json("expected.json")["hf"]);
}

TEST(FormatsGolden, GgufFile) {
  const auto opened = open_checkpoint(golden("m.gguf").string());
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  const ModelConfig& config = (*opened)->config();
  EXPECT_EQ(config.rope.divisors, (std::vector<float>{1, 1.5f, 4, 8}));
  EXPECT_EQ(config.layers, (std::vector<LayerConfig>(2, {4, 2, 64})));
  EXPECT_EQ(std::get<GgufVocab>((*opened)->tokenizer()).tokens.at(11), "t11");
  expect_digests(**opened, read_json("expected.json")["gguf"]);
}

TEST(FormatsGolden, ConfigurationsAsTransformersSavesThem) {
  const nlohmann::json configs = read_json("configs.json");
  ASSERT_EQ(configs.size(), 6u);
  std::map<std::string, ModelConfig> read;
  for (const auto& [name, json] : configs.items()) {
    const auto config = config_from_hf(json, name);
    ASSERT_TRUE(config.ok()) << config.error().message;
    EXPECT_EQ(config->layers, (std::vector<LayerConfig>(2, {4, 2, 64}))) << name;
    EXPECT_EQ(config->eos, std::vector<std::int32_t>{2});
    read[name] = *config;
  }
  EXPECT_EQ(read["llama3"].rope.factor, 8);
  EXPECT_EQ(read["linear"].rope.scaling, RopeConfig::Scaling::linear);
  EXPECT_EQ(read["linear"].rope.factor, 2);
  EXPECT_TRUE(read["linear"].qkv_bias && read["linear"].o_bias && read["linear"].mlp_bias && read["linear"].tied_head);
  EXPECT_EQ(read["mistral"].sliding_window, 16);
  EXPECT_EQ(read["mistral"].head_dim, 16);
  EXPECT_EQ(read["qwen2"].sliding_window, 0);
  EXPECT_TRUE(read["qwen2"].qkv_bias && !read["qwen2"].o_bias && read["qwen2"].tied_head);
  EXPECT_EQ(read["qwen2_window"].sliding_window, 16);
  EXPECT_TRUE(read["qwen3"].qk_norm && !read["qwen3"].qkv_bias);
}

}  // namespace
}  // namespace sparing
