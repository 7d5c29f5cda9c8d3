#include "formats/gguf_config.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "formats/json.h"

namespace sparing {
namespace {

/// Typed metadata under "<architecture>.".
class Fields {
 public:
  Fields(const GgufHeader& header, std::string architecture, std::string where)
      : header_(header), prefix_(std::move(architecture) + "."), where_(std::move(where)) {}

  const GgufValue* find(const char* key) const { return header_.find(prefix_ + key); }
  Error wrong(const char* key, const char* wanted) const {
    return input_error(where_ + ": metadata " + prefix_ + key +
                       (find(key) == nullptr ? " is missing: " : " is wrong: ") + wanted + " is needed");
  }
  Result<std::int32_t> integer(const char* key, std::optional<std::int32_t> fallback = {}) const {
    const GgufValue* value = find(key);
    if (value == nullptr && fallback) return *fallback;
    const auto number = value == nullptr || value->is_array() ? std::nullopt : value->integer();
    if (!number || *number < INT32_MIN || *number > INT32_MAX) return wrong(key, "an integer");
    return static_cast<std::int32_t>(*number);
  }
  Result<double> real(const char* key, std::optional<double> fallback = {}) const {
    const GgufValue* value = find(key);
    if (value == nullptr && fallback) return *fallback;
    const auto number = value == nullptr || value->is_array() ? std::nullopt : value->real();
    if (!number || !std::isfinite(*number)) return wrong(key, "a number");
    return *number;
  }
  /// One integer for all layers, or an array with one each.
  Result<std::vector<std::int32_t>> per_layer(const char* key, std::size_t layers,
                                              const std::vector<std::int32_t>* fallback = nullptr) const {
    const GgufValue* value = find(key);
    if (value == nullptr && fallback != nullptr) return *fallback;
    if (value == nullptr) return wrong(key, "an integer, or one for each layer,");
    if (value->is_array() && value->count() != layers) return wrong(key, "an integer, or one for each layer,");
    std::vector<std::int32_t> all;
    for (std::size_t i = 0; i < layers; ++i) {
      const auto number = value->integer(value->is_array() ? i : 0);
      if (!number || *number < 0 || *number > INT32_MAX) return wrong(key, "an integer, or one for each layer,");
      all.push_back(static_cast<std::int32_t>(*number));
    }
    return all;
  }

 private:
  const GgufHeader& header_;
  std::string prefix_, where_;
};

const GgufTensor* find_tensor(const GgufHeader& header, std::string_view name) {
  for (const GgufTensor& tensor : header.tensors) {
    if (tensor.name == name) return &tensor;
  }
  return nullptr;
}

Status read_rope(const GgufHeader& header, const Fields& fields, const std::string& where, ModelConfig& config) {
  RopeConfig& rope = config.rope;
  SPARING_TRY(rope.theta, fields.real("rope.freq_base", 10000.0));
  SPARING_TRY(rope.dimension, fields.integer("rope.dimension_count", config.head_dim));
  SPARING_TRY(double factor, fields.real("rope.scale_linear", 1.0));
  std::string kind = factor == 1.0 ? "none" : "linear";
  if (const GgufValue* value = fields.find("rope.scaling.type"); value != nullptr) {
    const auto text = value->string();
    if (!text) return fields.wrong("rope.scaling.type", "a string");
    kind = *text;
    SPARING_TRY(factor, fields.real("rope.scaling.factor", factor));
  }
  if (kind == "linear" && factor != 1.0) {
    rope.scaling = RopeConfig::Scaling::linear;
    rope.factor = factor;
  } else if (kind != "none" && kind != "linear" && !kind.empty()) {
    return input_error(where + ": rope scaling " + shown(kind) + " is not supported: none and linear are");
  }
  const GgufTensor* divisors = find_tensor(header, "rope_freqs.weight");
  if (divisors == nullptr) return {};
  const auto wanted = static_cast<std::int64_t>(rope.dimension / 2);
  if (divisors->type != GgmlType::f32 || divisors->rows() != 1 || divisors->cols() != wanted) {
    return input_error(where + ": rope_freqs.weight must be " + std::to_string(wanted) + " F32 values");
  }
  rope.divisors.resize(static_cast<std::size_t>(wanted));
  std::copy_n(divisors->bytes.data(), divisors->bytes.size(), reinterpret_cast<std::byte*>(rope.divisors.data()));
  // All ones is how "no scaling" is written by some converters.
  if (std::all_of(rope.divisors.begin(), rope.divisors.end(), [](float d) { return d == 1.0f; })) rope.divisors.clear();
  return {};
}

Result<std::int32_t> read_vocab_size(const GgufHeader& header, const Fields& fields, const std::string& where) {
  // The embedding decides: some converters write no vocab_size, some a padded one.
  if (const GgufTensor* embed = find_tensor(header, "token_embd.weight"); embed != nullptr) {
    if (embed->rows() > INT32_MAX) return input_error(where + ": token_embd.weight has absurdly many rows");
    return static_cast<std::int32_t>(embed->rows());
  }
  return fields.integer("vocab_size");
}

void read_token_ids(const GgufHeader& header, ModelConfig& config) {
  const auto id = [&](const char* key) -> std::int32_t {
    const GgufValue* value = header.find(std::string("tokenizer.ggml.") + key);
    const auto number = value == nullptr || value->is_array() ? std::nullopt : value->integer();
    return number && *number >= 0 && *number < config.vocab ? static_cast<std::int32_t>(*number) : -1;
  };
  config.bos = id("bos_token_id");
  config.pad = id("padding_token_id");
  for (const char* key : {"eos_token_id", "eot_token_id", "eom_token_id"}) {
    const std::int32_t end = id(key);
    if (end >= 0 && std::find(config.eos.begin(), config.eos.end(), end) == config.eos.end()) config.eos.push_back(end);
  }
}

std::optional<std::vector<std::int32_t>> integers(const GgufValue& value) {
  if (!value.is_array()) return std::nullopt;
  std::vector<std::int32_t> all;
  for (std::uint64_t i = 0; i < value.count(); ++i) {
    const auto number = value.integer(i);
    if (!number || *number < INT32_MIN || *number > INT32_MAX) return std::nullopt;
    all.push_back(static_cast<std::int32_t>(*number));
  }
  return all;
}

}  // namespace

Result<ModelConfig> config_from_gguf(const GgufHeader& header, const std::string& where) {
  const GgufValue* named = header.find("general.architecture");
  const auto architecture = named == nullptr ? std::nullopt : named->string();
  if (!architecture) return input_error(where + ": metadata general.architecture is missing: is this a model?");
  const bool unequal = *architecture == kGgufUnequalLlama;
  if (*architecture != "llama" && !unequal && *architecture != "qwen2" && *architecture != "qwen3") {
    return input_error(where + ": architecture " + shown(*architecture) +
                       " is not supported: llama (Mistral and deci included), qwen2 and qwen3 are");
  }
  const std::string name(unequal ? "llama" : *architecture);
  const Fields fields(header, std::string(*architecture), where);
  if (const GgufValue* split = header.find("split.count"); split != nullptr && split->integer().value_or(0) > 1) {
    return input_error(where + ": one of several parts of a split GGUF, which is not read: merge the parts first");
  }
  SPARING_TRY(const auto experts, fields.integer("expert_count", 0));
  if (experts > 0)
    return input_error(where + ": a mixture of " + std::to_string(experts) + " experts is not supported");

  ModelConfig config;
  config.architecture = name;
  if (const GgufValue* value = header.find("general.name"); value != nullptr)
    config.name = value->string().value_or("");
  SPARING_TRY(config.hidden, fields.integer("embedding_length"));
  SPARING_TRY(config.context, fields.integer("context_length", 2048));
  SPARING_TRY(const auto layers, fields.integer("block_count"));
  if (layers < 1 || layers > 4096) return fields.wrong("block_count", "an integer from 1 to 4096");
  const auto count = static_cast<std::size_t>(layers);
  SPARING_TRY(const auto heads, fields.per_layer("attention.head_count", count));
  SPARING_TRY(const auto kv_heads, fields.per_layer("attention.head_count_kv", count, &heads));
  SPARING_TRY(const auto ffn, fields.per_layer("feed_forward_length", count));
  for (std::size_t i = 0; i < count; ++i) config.layers.push_back({heads[i], kv_heads[i], ffn[i]});
  SPARING_TRY(config.head_dim, fields.integer("attention.key_length", heads[0] > 0 ? config.hidden / heads[0] : 0));
  SPARING_TRY(const auto value_dim, fields.integer("attention.value_length", config.head_dim));
  if (value_dim != config.head_dim) return fields.wrong("attention.value_length", "the same as attention.key_length");
  SPARING_TRY(config.vocab, read_vocab_size(header, fields, where));
  SPARING_TRY(const double eps, fields.real("attention.layer_norm_rms_epsilon", 1e-5));
  config.rms_eps = static_cast<float>(eps);
  SPARING_CHECK_OK(read_rope(header, fields, where, config));
  SPARING_TRY(config.sliding_window, fields.integer("attention.sliding_window", 0));
  config.tied_head = find_tensor(header, "output.weight") == nullptr;
  config.qkv_bias = find_tensor(header, "blk.0.attn_q.bias") != nullptr;
  config.o_bias = find_tensor(header, "blk.0.attn_output.bias") != nullptr;
  config.mlp_bias = find_tensor(header, "blk.0.ffn_gate.bias") != nullptr;
  config.qk_norm = name == "qwen3";
  read_token_ids(header, config);
  if (const Status status = validate(config); !status.ok()) {
    return input_error(where + ": " + status.error().message.substr(std::string("[config] ").size()));
  }
  return config;
}

std::string gguf_tensor_name(const std::string& canonical) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 11> parts = {{
      {"attn_norm", "attn_norm"},
      {"mlp_norm", "ffn_norm"},
      {"attn.q", "attn_q"},
      {"attn.k", "attn_k"},
      {"attn.v", "attn_v"},
      {"attn.o", "attn_output"},
      {"attn.q_norm", "attn_q_norm"},
      {"attn.k_norm", "attn_k_norm"},
      {"mlp.gate", "ffn_gate"},
      {"mlp.up", "ffn_up"},
      {"mlp.down", "ffn_down"},
  }};
  if (canonical == "embed") return "token_embd.weight";
  if (canonical == "norm") return "output_norm.weight";
  if (canonical == "head") return "output.weight";
  const auto begin = std::string("layers.").size(), dot = canonical.find('.', begin);
  std::string rest = canonical.substr(dot + 1), kind = ".weight";
  if (rest.ends_with(".bias")) {
    kind = ".bias";
    rest.resize(rest.size() - kind.size());
  }
  for (const auto& [ours, theirs] : parts) {
    if (ours == rest) return "blk." + canonical.substr(begin, dot + 1 - begin) + std::string(theirs) + kind;
  }
  return {};
}

bool gguf_interleaves_rope(const std::string& architecture) {
  return architecture == "llama" || architecture == kGgufUnequalLlama;
}

std::vector<std::int32_t> interleaved_rows(std::int32_t heads, std::int32_t head_dim, std::int32_t dimension) {
  std::vector<std::int32_t> rows;
  for (std::int32_t head = 0; head < heads; ++head) {
    for (std::int32_t i = 0; i < head_dim; ++i) {
      const std::int32_t half = dimension / 2;
      const std::int32_t source = i < half ? 2 * i : i < dimension ? 2 * (i - half) + 1 : i;
      rows.push_back(head * head_dim + source);
    }
  }
  return rows;
}

Result<GgufVocab> read_gguf_vocab(const GgufHeader& header, const std::string& where) {
  GgufVocab vocab;
  const auto find = [&](const char* key) { return header.find(std::string("tokenizer.ggml.") + key); };
  const auto fail = [&](const char* key, const char* wanted) {
    return input_error(where + ": metadata tokenizer.ggml." + key + " is missing or wrong: " + wanted + " is needed");
  };
  const auto text = [&](const char* key) {
    const GgufValue* value = find(key);
    return std::string(value == nullptr ? "" : value->string().value_or(""));
  };
  const auto id = [&](const char* key) -> std::int32_t {
    const GgufValue* value = find(key);
    const auto number = value == nullptr || value->is_array() ? std::nullopt : value->integer();
    return number && *number >= 0 && *number <= INT32_MAX ? static_cast<std::int32_t>(*number) : -1;
  };
  const auto flag = [&](const char* key) {
    const GgufValue* value = find(key);
    const auto said = value == nullptr ? std::nullopt : value->boolean();
    return said ? static_cast<int>(*said) : -1;
  };
  vocab.model = text("model");
  vocab.pre = text("pre");
  const GgufValue* tokens = find("tokens");
  auto strings = tokens == nullptr ? std::nullopt : tokens->strings();
  if (!strings) return fail("tokens", "an array of strings");
  vocab.tokens = *std::move(strings);
  if (const GgufValue* merges = find("merges"); merges != nullptr) {
    auto list = merges->strings();
    if (!list) return fail("merges", "an array of strings");
    vocab.merges = *std::move(list);
  }
  if (const GgufValue* scores = find("scores"); scores != nullptr) {
    if (!scores->is_array() || scores->count() != vocab.tokens.size()) return fail("scores", "one for each token");
    for (std::uint64_t i = 0; i < scores->count(); ++i) {
      const auto score = scores->real(i);
      if (!score || std::isnan(*score)) return fail("scores", "one number for each token");
      vocab.scores.push_back(static_cast<float>(*score));
    }
  }
  if (const GgufValue* types = find("token_type"); types != nullptr) {
    const auto list = integers(*types);
    if (!list || list->size() != vocab.tokens.size()) return fail("token_type", "one for each token");
    vocab.types = *list;
  }
  vocab.bos = id("bos_token_id");
  vocab.eos = id("eos_token_id");
  vocab.unknown = id("unknown_token_id");
  vocab.pad = id("padding_token_id");
  vocab.add_bos = flag("add_bos_token");
  vocab.add_eos = flag("add_eos_token");
  vocab.add_space_prefix = flag("add_space_prefix");
  return vocab;
}

}  // namespace sparing
