#pragma once
// For tests: logits of tiny models by transformers, and those models' configurations.

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "runtime/test_model.h"

namespace sparing::testing {

/// tests/golden/runtime/NAME.json, as make_runtime_golden.py wrote it.
inline nlohmann::json golden(const std::string& name) {
  std::ifstream in(std::string(SPARING_SOURCE_DIR) + "/tests/golden/runtime/" + name + ".json");
  return nlohmann::json::parse(in, nullptr, false);
}

/// Of the model of that name there.
inline ModelConfig golden_config(const std::string& name) {
  ModelConfig c = tiny_config();
  c.architecture = name;
  if (name == "llama") {
    c.rope.theta = 500000.0;
    c.rope.scaling = RopeConfig::Scaling::llama3;
    c.rope.factor = 8.0;
    c.rope.original_context = 32;
    c.qkv_bias = c.o_bias = c.mlp_bias = true;
  } else if (name == "mistral") {
    c.head_dim = c.rope.dimension = 24;
    c.sliding_window = 20;
  } else if (name == "qwen2") {
    c.tied_head = c.qkv_bias = true;
  } else if (name == "qwen3") {
    c.head_dim = c.rope.dimension = 40;
    c.rope.scaling = RopeConfig::Scaling::linear;
    c.rope.factor = 4.0;
    c.tied_head = c.qk_norm = true;
  }
  return c;
}

}  // namespace sparing::testing
