#include <gtest/gtest.h>

#include "formats/hf_config.h"
#include "formats/json.h"
#include "formats/test_models.h"

namespace sparing {
namespace {

using nlohmann::json;

json minimal(const char* type) {
  return {{"model_type", type},     {"hidden_size", 64},       {"num_attention_heads", 4},
          {"num_hidden_layers", 2}, {"intermediate_size", 96}, {"vocab_size", 40}};
}

ModelConfig read(const json& object) {
  auto config = config_from_hf(object, "[open] config.json");
  EXPECT_TRUE(config.ok()) << (config.ok() ? "" : config.error().message);
  return config.ok() ? *config : ModelConfig{};
}

std::string error_of(json object, const json& patch) {
  object.merge_patch(patch);
  const auto config = config_from_hf(object, "[open] config.json");
  return config.ok() ? "accepted" : config.error().message;
}

TEST(HfConfig, DefaultsFollowHuggingFace) {
  const ModelConfig config = read(minimal("llama"));
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.layers[1], (LayerConfig{4, 4, 96}));
  EXPECT_EQ(config.rope.theta, 10000.0);
  EXPECT_EQ(config.rms_eps, 1e-6f);
  EXPECT_FALSE(config.tied_head);
  EXPECT_TRUE(read(minimal("qwen2")).qkv_bias);
  EXPECT_TRUE(read(minimal("qwen3")).qk_norm);
  EXPECT_EQ(read(minimal("mistral")).sliding_window, 4096);
}

TEST(HfConfig, RopeScalingInEverySpelling) {
  json object = minimal("llama");
  object["rope_scaling"] = {{"type", "linear"}, {"factor", 4.0}};
  EXPECT_EQ(read(object).rope.scaling, RopeConfig::Scaling::linear);
  EXPECT_EQ(read(object).rope.factor, 4.0);
  object["rope_scaling"] = {{"rope_type", "llama3"},
                            {"factor", 8.0},
                            {"low_freq_factor", 1.0},
                            {"high_freq_factor", 4.0},
                            {"original_max_position_embeddings", 4096}};
  const ModelConfig old_spelling = read(object);
  EXPECT_EQ(old_spelling.rope.scaling, RopeConfig::Scaling::llama3);
  EXPECT_EQ(old_spelling.rope.original_context, 4096);
  object["rope_parameters"] = object["rope_scaling"];
  object.erase("rope_scaling");
  object["rope_parameters"]["rope_theta"] = 500000.0;
  const ModelConfig new_spelling = read(object);
  EXPECT_EQ(new_spelling.rope.theta, 500000.0);
  EXPECT_EQ(new_spelling.rope.original_context, 4096);
  EXPECT_NE(error_of(minimal("llama"), {{"rope_scaling", {{"rope_type", "yarn"}, {"factor", 2.0}}}}).find("yarn"),
            std::string::npos);
}

TEST(HfConfig, SlidingWindowIsAllOrNothing) {
  json object = minimal("qwen2");
  object["sliding_window"] = 32;
  EXPECT_EQ(read(object).sliding_window, 0);
  object["use_sliding_window"] = true;
  object["max_window_layers"] = 0;
  EXPECT_EQ(read(object).sliding_window, 32);
  object["max_window_layers"] = 2;
  EXPECT_EQ(read(object).sliding_window, 0);
  EXPECT_NE(error_of(object, {{"max_window_layers", 1}}).find("1 of 2"), std::string::npos);
  object["layer_types"] = {"full_attention", "full_attention"};
  object["max_window_layers"] = 1;
  EXPECT_EQ(read(object).sliding_window, 0);
  json mistral = minimal("mistral");
  mistral["sliding_window"] = nullptr;
  EXPECT_EQ(read(mistral).sliding_window, 0);
}

TEST(HfConfig, NeutralValuesOfOtherComputationsAreRead) {
  json object = minimal("llama");
  const ModelConfig plain = read(object);
  object["rope_interleaved"] = false;
  object["residual_multiplier"] = 1.0;
  object["clip_qkv"] = nullptr;
  EXPECT_EQ(read(object), plain);
}

TEST(HfConfig, EndTokensMerge) {
  json object = minimal("llama");
  object["eos_token_id"] = {3, 5};
  ModelConfig config = read(object);
  ASSERT_TRUE(merge_generation_config({{"eos_token_id", {5, 7}}}, "x", config).ok());
  EXPECT_EQ(config.eos, (std::vector<std::int32_t>{3, 5, 7}));
  EXPECT_FALSE(merge_generation_config({{"eos_token_id", 40}}, "x", config).ok());
  EXPECT_FALSE(merge_generation_config({{"eos_token_id", "</s>"}}, "x", config).ok());
  EXPECT_FALSE(merge_generation_config(json::array(), "x", config).ok());
}

TEST(HfConfig, RefusesByName) {
  const std::pair<json, const char*> cases[] = {
      {{{"model_type", "mixtral"}}, "mixtral"},
      {{{"model_type", nullptr}}, "no model_type"},
      {{{"hidden_act", "gelu"}}, "gelu"},
      {{{"rope_interleaved", true}}, "rope_interleaved is true"},
      {{{"final_logit_softcapping", 30.0}}, "final_logit_softcapping is 30.0"},
      {{{"residual_multiplier", 0.5}}, "residual_multiplier"},
      {{{"quantization_config", {{"quant_method", "bitsandbytes"}}}}, "bitsandbytes"},
      {{{"hidden_size", "big"}}, "hidden_size"},
      {{{"hidden_size", 1e30}}, "hidden_size"},
      {{{"hidden_size", 0}}, "hidden width is 0"},
      {{{"hidden_size", -64}}, "-64"},
      {{{"hidden_size", 66}}, "does not divide"},
      {{{"num_attention_heads", 0}}, "num_attention_heads"},
      {{{"num_key_value_heads", 3}}, "do not divide"},
      {{{"num_key_value_heads", 8}}, "key-value heads is 8"},
      {{{"num_hidden_layers", 2000000000}}, "num_hidden_layers"},
      {{{"head_dim", 7}}, "even"},
      {{{"vocab_size", 4294967296}}, "vocab_size"},
      {{{"rms_norm_eps", 0.0}}, "epsilon"},
      {{{"rope_theta", -1.0}}, "theta"},
      {{{"rope_scaling", 3}}, "rope_scaling"},
      {{{"rope_scaling", {{"type", "linear"}}}}, "factor is missing"},
      {{{"eos_token_id", 40}}, "end-of-text token is 40"},
      {{{"eos_token_id", {1, "x"}}}, "eos_token_id"},
      {{{"partial_rotary_factor", 2.0}}, "partial_rotary_factor"},
      {{{"sparing_layers", {1, 2, 3}}}, "one entry for each"},
      {{{"sparing_activation_bits", 8}}, "activation bits are 8"},
      {{{"sparing_activation_bits", "all"}}, "sparing_activation_bits"},
      {{{"tie_word_embeddings", "yes"}}, "true or false"},
  };
  for (const auto& [patch, message] : cases) {
    const std::string error = error_of(minimal("llama"), patch);
    EXPECT_NE(error.find(message), std::string::npos) << message << " | " << error;
  }
}

TEST(HfConfig, WritesWhatItReads) {
  for (const char* architecture : {"llama", "mistral", "qwen2", "qwen3"}) {
    ModelConfig config = test::small_config(architecture);
    EXPECT_EQ(read(config_to_hf(config)), config) << architecture;
    config.layers[1] = {2, 1, 33};
    config.rope.divisors.assign(8, 1.3f);
    config.rope.dimension = 16;
    config.qkv_bias = true;
    config.o_bias = false;
    config.mlp_bias = true;
    config.sliding_window = 17;
    config.eos = {2, 4};
    config.bos = -1;
    config.rms_eps = 1e-6f;
    config.activation_bits = 16;
    EXPECT_EQ(read(json::parse(config_to_hf(config).dump())), config) << architecture;
    EXPECT_FALSE(config_to_plain_hf(config).ok());
  }
}

TEST(HfConfig, PlainFormFindsTheFamily) {
  ModelConfig config = test::small_config("llama");
  config.qkv_bias = true;
  EXPECT_EQ((*config_to_plain_hf(config))["model_type"], "qwen2");
  config = test::small_config("llama");
  config.sliding_window = 8;
  EXPECT_EQ((*config_to_plain_hf(config))["model_type"], "mistral");
  config.activation_bits = 16;
  EXPECT_FALSE(config_to_plain_hf(config)->contains("sparing_activation_bits"));
  // Llama 3.2's scaling, as a GGUF holds it.
  config = test::small_config("llama");
  config.rope.theta = 500000;
  config.rope.scaling = RopeConfig::Scaling::llama3;
  config.rope.factor = 32;
  config.rope.original_context = 8192;
  ModelConfig divided = config;
  divided.rope = {};
  divided.rope.theta = 500000;
  divided.rope.dimension = 16;
  divided.rope.divisors = llama3_divisors(config.rope);
  EXPECT_EQ(read(*config_to_plain_hf(divided)), config);
}

TEST(Json, RefusesDuplicatesDepthAndRest) {
  EXPECT_TRUE(parse_json(R"({"a":{"b":1},"c":{"b":2}})", "x").ok());
  EXPECT_NE(parse_json(R"({"a":{"b":1,"b":2}})", "x").error().message.find("\"b\" occurs twice"), std::string::npos);
  EXPECT_FALSE(parse_json(std::string(100, '[') + std::string(100, ']'), "x").ok());
  EXPECT_FALSE(parse_json(std::string(1000000, '['), "x").ok());
  EXPECT_FALSE(parse_json("{} {}", "x").ok());
  EXPECT_FALSE(parse_json("", "x").ok());
}

TEST(ModelConfig, TensorsInCanonicalOrder) {
  ModelConfig config = test::small_config("qwen3");
  config.tied_head = false;
  const auto tensors = expected_tensors(config);
  EXPECT_EQ(tensors.front().name, "embed");
  EXPECT_EQ(tensors.back().name, "head");
  EXPECT_EQ(tensors[2].name, "layers.0.attn.q");
  EXPECT_EQ(tensors[2].rows, 64);
  EXPECT_EQ(tensors[3].rows, 32);
  EXPECT_EQ(tensors.size(), 2 * 11 + 3u);
}

}  // namespace
}  // namespace sparing
