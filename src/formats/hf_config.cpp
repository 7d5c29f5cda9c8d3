#include "formats/hf_config.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "formats/hf_quantization.h"
#include "formats/json.h"

namespace sparing {
namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 4> kArchitectures = {"llama", "mistral", "qwen2", "qwen3"};

Result<std::vector<std::int32_t>> read_ids(const JsonFields& fields, const char* key) {
  std::vector<std::int32_t> ids;
  const json& value = fields.at(key);
  if (value.is_null()) return ids;
  const auto add = [&](const json& id) {
    if (!id.is_number_integer() || id.get<std::int64_t>() < 0 || id.get<std::int64_t>() > INT32_MAX) return false;
    const auto number = static_cast<std::int32_t>(id.get<std::int64_t>());
    if (std::find(ids.begin(), ids.end(), number) == ids.end()) ids.push_back(number);
    return true;
  };
  if (value.is_array() && value.size() <= 1024) {
    for (const json& id : value) {
      if (!add(id)) return fields.wrong(key, "a token id or a list of them");
    }
  } else if (!add(value)) {
    return fields.wrong(key, "a token id or a list of them");
  }
  return ids;
}

/// A token id where several (the first counts) or a negative number for none may stand.
Result<std::int32_t> read_id(const JsonFields& fields, const char* key) {
  const json& value = fields.at(key);
  if (value.is_number_integer() && value.get<std::int64_t>() < 0) return -1;
  SPARING_TRY(const auto ids, read_ids(fields, key));
  return ids.empty() ? -1 : ids.front();
}

Status read_scaling(const JsonFields& scaling, RopeConfig& rope) {
  SPARING_TRY(const std::string old_kind, scaling.string("type", "default"));
  SPARING_TRY(const std::string kind, scaling.string("rope_type", old_kind));
  if (kind == "default") return {};
  if (kind != "linear" && kind != "llama3") {
    return input_error(scaling.where() + ": rope scaling " + shown(kind) + " is not supported: default, linear and " +
                       "llama3 are");
  }
  SPARING_TRY(rope.factor, scaling.real("factor"));
  if (kind == "linear") {
    rope.scaling = RopeConfig::Scaling::linear;
    return {};
  }
  rope.scaling = RopeConfig::Scaling::llama3;
  SPARING_TRY(rope.low_frequency_factor, scaling.real("low_freq_factor"));
  SPARING_TRY(rope.high_frequency_factor, scaling.real("high_freq_factor"));
  SPARING_TRY(const auto original, scaling.integer("original_max_position_embeddings"));
  rope.original_context = static_cast<std::int32_t>(original);
  return {};
}

/// rope_theta and rope_scaling, or rope_parameters which holds both (transformers 5).
Status read_rope(const JsonFields& fields, ModelConfig& config) {
  RopeConfig& rope = config.rope;
  SPARING_TRY(rope.theta, fields.real("rope_theta", 10000.0));
  SPARING_TRY(double partial, fields.real("partial_rotary_factor", 1.0));
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!fields.has(key)) continue;
    if (!fields.at(key).is_object()) return fields.wrong(key, "an object");
    const JsonFields scaling(fields.at(key), fields.where() + ": " + key);
    SPARING_TRY(rope.theta, scaling.real("rope_theta", rope.theta));
    SPARING_TRY(partial, scaling.real("partial_rotary_factor", partial));
    SPARING_CHECK_OK(read_scaling(scaling, rope));
  }
  if (!(partial > 0 && partial <= 1)) {
    return input_error(fields.where() + ": partial_rotary_factor is " + std::to_string(partial) +
                       ": must be above 0 and at most 1");
  }
  rope.dimension = static_cast<std::int32_t>(config.head_dim * partial + 1e-6);
  if (fields.has("sparing_rope_divisors")) {
    const json& divisors = fields.at("sparing_rope_divisors");
    if (!divisors.is_array()) return fields.wrong("sparing_rope_divisors", "a list of numbers");
    for (const json& d : divisors) {
      if (!d.is_number()) return fields.wrong("sparing_rope_divisors", "a list of numbers");
      rope.divisors.push_back(static_cast<float>(d.get<double>()));
    }
  }
  return {};
}

/// transformers lets each layer slide or not; Sparing's models slide in all layers or in none.
Status read_window(const JsonFields& fields, ModelConfig& config) {
  const bool qwen = config.architecture == "qwen2" || config.architecture == "qwen3";
  SPARING_TRY(const bool used, fields.boolean("use_sliding_window", !qwen));
  if (config.architecture == "llama" || !used) return {};
  // Where the key is absent, MistralConfig has a default of its own; null says that there is no window.
  const bool mistral_default = config.architecture == "mistral" && !fields.contains("sliding_window");
  if (!fields.has("sliding_window") && !mistral_default) return {};
  SPARING_TRY(const auto size, fields.integer("sliding_window", 4096, 1));
  const auto layers = static_cast<std::int64_t>(config.layers.size());
  std::int64_t sliding = layers;
  if (const json& types = fields.at("layer_types"); types.is_array()) {
    sliding = std::count(types.begin(), types.end(), json("sliding_attention"));
  } else if (qwen) {
    SPARING_TRY(const auto first, fields.integer("max_window_layers", 28, 0));
    sliding = std::max<std::int64_t>(0, layers - first);
  }
  if (sliding == 0) return {};
  if (sliding != layers) {
    return input_error(fields.where() + ": sliding attention in " + std::to_string(sliding) + " of " +
                       std::to_string(layers) + " layers is not supported: all or none are");
  }
  config.sliding_window = static_cast<std::int32_t>(size);
  return {};
}

Status read_biases(const JsonFields& fields, ModelConfig& config) {
  SPARING_TRY(const bool attention, fields.boolean("attention_bias", false));
  if (config.architecture == "qwen2") {
    config.qkv_bias = true;
  } else if (config.architecture != "mistral") {
    config.qkv_bias = config.o_bias = attention;
  }
  if (config.architecture == "llama") {
    SPARING_TRY(config.mlp_bias, fields.boolean("mlp_bias", false));
  }
  config.qk_norm = config.architecture == "qwen3";
  if (fields.has("sparing_features")) {
    const JsonFields features(fields.at("sparing_features"), fields.where() + ": sparing_features");
    SPARING_TRY(config.qkv_bias, features.boolean("qkv_bias"));
    SPARING_TRY(config.o_bias, features.boolean("o_bias"));
    SPARING_TRY(config.mlp_bias, features.boolean("mlp_bias"));
    SPARING_TRY(config.qk_norm, features.boolean("qk_norm"));
    SPARING_TRY(const auto window, features.integer("sliding_window", {}, 0));
    config.sliding_window = static_cast<std::int32_t>(window);
  }
  return {};
}

Status read_layers(const JsonFields& fields, ModelConfig& config, std::int64_t heads) {
  SPARING_TRY(const auto count, fields.integer("num_hidden_layers", {}, 1, 4096));
  SPARING_TRY(const auto kv_heads, fields.integer("num_key_value_heads", heads));
  SPARING_TRY(const auto ffn, fields.integer("intermediate_size"));
  config.layers.assign(
      static_cast<std::size_t>(count),
      {static_cast<std::int32_t>(heads), static_cast<std::int32_t>(kv_heads), static_cast<std::int32_t>(ffn)});
  if (!fields.has("sparing_layers")) return {};
  const json& layers = fields.at("sparing_layers");
  if (!layers.is_array() || layers.size() != config.layers.size()) {
    return fields.wrong("sparing_layers", "a list with one entry for each of " + std::to_string(count) + " layers");
  }
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const JsonFields layer(layers[i], fields.where() + ": sparing_layers[" + std::to_string(i) + "]");
    SPARING_TRY(const auto h, layer.integer("heads"));
    SPARING_TRY(const auto kv, layer.integer("kv_heads"));
    SPARING_TRY(const auto f, layer.integer("ffn"));
    config.layers[i] = {static_cast<std::int32_t>(h), static_cast<std::int32_t>(kv), static_cast<std::int32_t>(f)};
  }
  return {};
}

Result<std::string> read_architecture(const JsonFields& fields) {
  SPARING_TRY(std::string type, fields.string("model_type", ""));
  if (is_supported_architecture(type)) return type;
  std::string said = type;
  if (said.empty() && fields.at("architectures").is_array()) said = dump_json(fields.at("architectures"));
  return input_error(fields.where() + ": architecture " + (said.empty() ? "(no model_type)" : shown(said)) +
                     " is not supported: " + supported_architectures() + " are");
}

std::string last_component(const std::string& name) {
  const auto end = name.find_last_not_of('/');
  if (end == std::string::npos) return {};
  const auto slash = name.find_last_of('/', end);
  const auto begin = slash == std::string::npos ? 0 : slash + 1;
  return name.substr(begin, end + 1 - begin);
}

/// Keys that other computations than ours put into config.json, and the value that leaves ours as it is (as null does).
Status refuse_other_computations(const JsonFields& fields) {
  static const std::pair<const char*, json> neutral[] = {
      {"alibi", false},
      {"attention_chunk_size", nullptr},
      {"attention_multiplier", nullptr},
      {"attn_logit_softcapping", nullptr},
      {"clip_qkv", nullptr},
      {"embedding_multiplier", 1},
      {"final_logit_softcapping", nullptr},
      {"logit_scale", 1},
      {"logits_scaling", 1},
      {"no_rope_layers", json::array()},
      {"num_experts", 0},
      {"num_local_experts", 0},
      {"parallel_attn", false},
      {"parallel_residual", false},
      {"qk_layernorm", false},
      {"query_pre_attn_scalar", nullptr},
      {"residual_multiplier", 1},
      {"rope_interleaved", false},
      {"scale_emb", 1},
      {"use_bidirectional_attention", false},
      {"use_qk_norm", false},
  };
  for (const auto& [key, value] : neutral) {
    if (!fields.has(key) || fields.at(key) == value) continue;
    return input_error(fields.where() + ": " + key + " is " + shown(dump_json(fields.at(key))) +
                       ", a computation that is not supported: the results would be wrong");
  }
  return {};
}

}  // namespace

std::string supported_architectures() {
  std::string names;
  for (const auto name : kArchitectures) names += (names.empty() ? "" : ", ") + std::string(name);
  return names;
}

bool is_supported_architecture(std::string_view name) {
  return std::find(kArchitectures.begin(), kArchitectures.end(), name) != kArchitectures.end();
}

Result<ModelConfig> config_from_hf(const json& object, const std::string& where) {
  if (!object.is_object()) return input_error(where + ": not a JSON object");
  const JsonFields fields(object, where);
  ModelConfig config;
  SPARING_TRY(config.architecture, read_architecture(fields));
  SPARING_TRY(const std::string activation, fields.string("hidden_act", "silu"));
  if (activation != "silu" && activation != "swish") {
    return input_error(where + ": hidden_act " + shown(activation) + " is not supported: silu is");
  }
  SPARING_CHECK_OK(refuse_other_computations(fields));
  if (fields.has("quantization_config")) {
    const JsonFields quantization(fields.at("quantization_config"), where + ": quantization_config");
    SPARING_TRY(const std::string method, quantization.string("quant_method", "(no quant_method)"));
    if (method != "sparing" && !is_packed_method(method)) {
      return input_error(where + ": the weights are quantised with " + shown(method) +
                         ", which is not read: use the original model or its GGUF");
    }
  }
  SPARING_TRY(const auto hidden, fields.integer("hidden_size"));
  SPARING_TRY(const auto heads, fields.integer("num_attention_heads", {}, 1));
  SPARING_TRY(const auto head_dim, fields.integer("head_dim", hidden / heads));
  SPARING_TRY(const auto vocab, fields.integer("vocab_size"));
  SPARING_TRY(const auto context, fields.integer("max_position_embeddings", 2048));
  config.hidden = static_cast<std::int32_t>(hidden);
  config.head_dim = static_cast<std::int32_t>(head_dim);
  config.vocab = static_cast<std::int32_t>(vocab);
  config.context = static_cast<std::int32_t>(context);
  if (!fields.has("head_dim") && hidden % heads != 0) {
    return input_error(where + ": hidden_size " + std::to_string(hidden) + " does not divide by " +
                       std::to_string(heads) + " heads and head_dim is not given");
  }
  SPARING_CHECK_OK(read_layers(fields, config, heads));
  SPARING_TRY(const double eps, fields.real("rms_norm_eps", 1e-6));
  config.rms_eps = static_cast<float>(eps);
  SPARING_CHECK_OK(read_rope(fields, config));
  SPARING_CHECK_OK(read_window(fields, config));
  SPARING_CHECK_OK(read_biases(fields, config));
  SPARING_TRY(const auto activation_bits, fields.integer("sparing_activation_bits", 0));
  config.activation_bits = static_cast<std::int32_t>(activation_bits);
  SPARING_TRY(config.tied_head, fields.boolean("tie_word_embeddings", false));
  SPARING_TRY(config.bos, read_id(fields, "bos_token_id"));
  SPARING_TRY(config.pad, read_id(fields, "pad_token_id"));
  SPARING_TRY(config.eos, read_ids(fields, "eos_token_id"));
  SPARING_TRY(const std::string name, fields.string("_name_or_path", ""));
  config.name = last_component(name);
  if (const Status status = validate(config); !status.ok()) {
    return input_error(where + ": " + status.error().message.substr(std::string("[config] ").size()));
  }
  return config;
}

bool says_tied(const json& object) {
  return object.is_object() && object.contains("tie_word_embeddings") && object["tie_word_embeddings"].is_boolean();
}

Status merge_generation_config(const json& object, const std::string& where, ModelConfig& config) {
  if (!object.is_object()) return input_error(where + ": not a JSON object");
  SPARING_TRY(const auto ids, read_ids(JsonFields(object, where), "eos_token_id"));
  for (const std::int32_t id : ids) {
    if (id >= config.vocab) {
      return input_error(where + ": eos_token_id " + std::to_string(id) + " is outside the vocabulary of " +
                         std::to_string(config.vocab));
    }
    if (std::find(config.eos.begin(), config.eos.end(), id) == config.eos.end()) config.eos.push_back(id);
  }
  return {};
}

std::string hf_tensor_name(const std::string& canonical) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 11> parts = {{
      {"attn_norm", "input_layernorm"},
      {"mlp_norm", "post_attention_layernorm"},
      {"attn.q", "self_attn.q_proj"},
      {"attn.k", "self_attn.k_proj"},
      {"attn.v", "self_attn.v_proj"},
      {"attn.o", "self_attn.o_proj"},
      {"attn.q_norm", "self_attn.q_norm"},
      {"attn.k_norm", "self_attn.k_norm"},
      {"mlp.gate", "mlp.gate_proj"},
      {"mlp.up", "mlp.up_proj"},
      {"mlp.down", "mlp.down_proj"},
  }};
  if (canonical == "embed") return "model.embed_tokens.weight";
  if (canonical == "norm") return "model.norm.weight";
  if (canonical == "head") return "lm_head.weight";
  const auto dot = canonical.find('.', std::string("layers.").size());
  std::string rest = canonical.substr(dot + 1), kind = ".weight";
  if (rest.ends_with(".bias")) {
    kind = ".bias";
    rest.resize(rest.size() - kind.size());
  }
  for (const auto& [ours, theirs] : parts) {
    if (ours == rest) rest = theirs;
  }
  return "model." + canonical.substr(0, dot + 1) + rest + kind;
}

std::vector<float> llama3_divisors(const RopeConfig& rope) {
  std::vector<float> divisors;
  const double context = rope.original_context, low = context / rope.low_frequency_factor,
               high = context / rope.high_frequency_factor;
  for (std::int32_t i = 0; i < rope.dimension; i += 2) {
    const double wavelength = 2.0 * M_PI * std::pow(rope.theta, static_cast<double>(i) / rope.dimension);
    double divisor = 1.0;
    if (wavelength > low) {
      divisor = rope.factor;
    } else if (wavelength >= high) {
      const double smooth =
          (context / wavelength - rope.low_frequency_factor) / (rope.high_frequency_factor - rope.low_frequency_factor);
      divisor = 1.0 / ((1.0 - smooth) / rope.factor + smooth);
    }
    divisors.push_back(static_cast<float>(divisor));
  }
  return divisors;
}

}  // namespace sparing
