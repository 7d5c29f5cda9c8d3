#pragma once
// Hugging Face's config.json as ModelConfig, both ways.

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "formats/model_config.h"

namespace sparing {

/// Reads model_type llama, mistral, qwen2 and qwen3 (with SmolLM, TinyLlama, ... which are llama). Old and new
/// spellings of rope scaling. What cannot be computed (another activation, yarn, a coding that is not read) is refused
/// by name. `where` begins the messages. An absent tie_word_embeddings is read as false: see says_tied.
Result<ModelConfig> config_from_hf(const nlohmann::json& json, const std::string& where);
/// Whether config.json says whether the head is tied.
bool says_tied(const nlohmann::json& json);

/// config.json that config_from_hf reads back equal, and that transformers loads when `plain` is possible. What
/// Hugging Face has no key for is written under "sparing_..." keys: layers of different widths, rope divisors, biases
/// that the architecture does not have, activation bits.
nlohmann::json config_to_hf(const ModelConfig& config);
/// The same, for other tools: the model type is chosen by features, and what transformers could not hold is an error
/// (per-layer widths, rope divisors that are not llama3's).
Result<nlohmann::json> config_to_plain_hf(const ModelConfig& config);

/// Merges generation_config.json's end tokens into the config.
Status merge_generation_config(const nlohmann::json& json, const std::string& where, ModelConfig& config);

/// "llama, mistral, qwen2, qwen3".
std::string supported_architectures();
bool is_supported_architecture(std::string_view name);

/// "layers.3.attn.q" -> "model.layers.3.self_attn.q_proj.weight".
std::string hf_tensor_name(const std::string& canonical);

/// Divisors of llama3 scaling: what GGUF stores as rope_freqs.weight. dimension / 2 of them.
std::vector<float> llama3_divisors(const RopeConfig& rope);

}  // namespace sparing
