#include <charconv>
#include <cmath>
#include <cstdlib>

#include "formats/hf_config.h"
#include "formats/json.h"

namespace sparing {
namespace {

using nlohmann::json;

/// The double with the fewest digits that reads back as this float: 1e-05, not 9.999999747378752e-06.
double shortest(float value) {
  char text[64];
  const auto end = std::to_chars(text, text + sizeof(text) - 1, value).ptr;
  *end = '\0';
  return std::strtod(text, nullptr);
}

std::string class_name(const std::string& architecture) {
  if (architecture == "mistral") return "MistralForCausalLM";
  if (architecture == "qwen2") return "Qwen2ForCausalLM";
  if (architecture == "qwen3") return "Qwen3ForCausalLM";
  return "LlamaForCausalLM";
}

bool uniform(const ModelConfig& config) {
  for (const LayerConfig& layer : config.layers) {
    if (!(layer == config.layers.front())) return false;
  }
  return true;
}

/// Whether the model type alone, with the keys Hugging Face has, says these features.
bool expressible(const ModelConfig& c) {
  if (c.architecture == "llama") return c.qkv_bias == c.o_bias && !c.qk_norm && c.sliding_window == 0;
  if (c.architecture == "mistral") return !c.qkv_bias && !c.o_bias && !c.mlp_bias && !c.qk_norm;
  if (c.architecture == "qwen2") return c.qkv_bias && !c.o_bias && !c.mlp_bias && !c.qk_norm;
  return c.qkv_bias == c.o_bias && !c.mlp_bias && c.qk_norm;
}

json scaling_json(const RopeConfig& rope) {
  switch (rope.scaling) {
    case RopeConfig::Scaling::none:
      return nullptr;
    case RopeConfig::Scaling::linear:
      return {{"rope_type", "linear"}, {"factor", rope.factor}};
    case RopeConfig::Scaling::llama3:
      return {{"rope_type", "llama3"},
              {"factor", rope.factor},
              {"low_freq_factor", rope.low_frequency_factor},
              {"high_freq_factor", rope.high_frequency_factor},
              {"original_max_position_embeddings", rope.original_context}};
  }
  return nullptr;
}

json ids_json(const std::vector<std::int32_t>& ids) {
  if (ids.empty()) return nullptr;
  if (ids.size() == 1) return ids.front();
  return ids;
}

/// GGUF holds llama3 scaling only as divisors: finds the parameters that give them, if there are any.
bool recover_llama3(RopeConfig& rope) {
  RopeConfig tried = rope;
  tried.scaling = RopeConfig::Scaling::llama3;
  for (const float d : rope.divisors) tried.factor = std::max(tried.factor, static_cast<double>(d));
  tried.low_frequency_factor = 1;
  tried.high_frequency_factor = 4;
  for (tried.original_context = 128; tried.original_context <= 1 << 20; tried.original_context *= 2) {
    const std::vector<float> divisors = llama3_divisors(tried);
    bool same = divisors.size() == rope.divisors.size();
    for (std::size_t i = 0; same && i < divisors.size(); ++i) {
      same = std::abs(divisors[i] - rope.divisors[i]) <= 1e-5f * divisors[i];
    }
    if (!same) continue;
    rope = tried;
    rope.divisors.clear();
    return true;
  }
  return false;
}

}  // namespace

json config_to_hf(const ModelConfig& c) {
  json out = {{"architectures", {class_name(c.architecture)}},
              {"model_type", c.architecture},
              {"hidden_act", "silu"},
              {"hidden_size", c.hidden},
              {"head_dim", c.head_dim},
              {"vocab_size", c.vocab},
              {"max_position_embeddings", c.context},
              {"num_hidden_layers", c.layers.size()},
              {"rms_norm_eps", shortest(c.rms_eps)},
              {"rope_theta", c.rope.theta},
              {"rope_scaling", scaling_json(c.rope)},
              {"tie_word_embeddings", c.tied_head},
              {"bos_token_id", c.bos < 0 ? json(nullptr) : json(c.bos)},
              {"pad_token_id", c.pad < 0 ? json(nullptr) : json(c.pad)},
              {"eos_token_id", ids_json(c.eos)}};
  if (!c.name.empty()) out["_name_or_path"] = c.name;
  if (!c.layers.empty()) {
    out["num_attention_heads"] = c.layers.front().heads;
    out["num_key_value_heads"] = c.layers.front().kv_heads;
    out["intermediate_size"] = c.layers.front().ffn;
  }
  if (c.rope.dimension != c.head_dim) {
    out["partial_rotary_factor"] = static_cast<double>(c.rope.dimension) / c.head_dim;
  }
  if (c.architecture == "llama" || c.architecture == "qwen3") out["attention_bias"] = c.qkv_bias;
  if (c.architecture == "llama") out["mlp_bias"] = c.mlp_bias;
  if (c.architecture == "mistral")
    out["sliding_window"] = c.sliding_window > 0 ? json(c.sliding_window) : json(nullptr);
  if (c.architecture == "qwen2" || c.architecture == "qwen3") {
    out["use_sliding_window"] = c.sliding_window > 0;
    out["sliding_window"] = c.sliding_window > 0 ? json(c.sliding_window) : json(nullptr);
    out["max_window_layers"] = c.sliding_window > 0 ? 0 : static_cast<std::int64_t>(c.layers.size());
  }
  if (!uniform(c)) {
    json layers = json::array();
    for (const LayerConfig& l : c.layers)
      layers.push_back({{"heads", l.heads}, {"kv_heads", l.kv_heads}, {"ffn", l.ffn}});
    out["sparing_layers"] = layers;
  }
  if (!c.rope.divisors.empty()) {
    json divisors = json::array();
    for (const float d : c.rope.divisors) divisors.push_back(shortest(d));
    out["sparing_rope_divisors"] = divisors;
  }
  if (c.activation_bits != 0) out["sparing_activation_bits"] = c.activation_bits;
  if (!expressible(c)) {
    out["sparing_features"] = {{"qkv_bias", c.qkv_bias},
                               {"o_bias", c.o_bias},
                               {"mlp_bias", c.mlp_bias},
                               {"qk_norm", c.qk_norm},
                               {"sliding_window", c.sliding_window}};
  }
  return out;
}

Result<json> config_to_plain_hf(const ModelConfig& config) {
  ModelConfig c = config;
  c.activation_bits = 0;  // others' own affair
  const auto refuse = [](const std::string& what) {
    return usage_error("[export] " + what + ", which transformers cannot hold: export GGUF or a Sparing directory");
  };
  if (!uniform(c)) return refuse("layers of different widths");
  if (!c.rope.divisors.empty() && !recover_llama3(c.rope)) return refuse("rope divisors of no known scaling");
  if (c.rope.dimension != c.head_dim) return refuse("partly rotated heads");
  // A GGUF says "llama" for models that Hugging Face has under other names.
  if (!expressible(c)) {
    for (const char* architecture : {"llama", "mistral", "qwen2", "qwen3"}) {
      c.architecture = architecture;
      if (expressible(c)) break;
    }
  }
  if (!expressible(c)) return refuse("this mixture of biases, norms and sliding window");
  return config_to_hf(c);
}

}  // namespace sparing
