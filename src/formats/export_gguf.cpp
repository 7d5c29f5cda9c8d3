#include <algorithm>

#include "base/interrupt.h"
#include "base/log.h"
#include "formats/export.h"
#include "formats/gguf_config.h"
#include "formats/gguf_tensors.h"
#include "formats/gguf_writer.h"
#include "formats/hf_config.h"
#include "formats/json.h"
#include "formats/model_card.h"
#include "formats/staging.h"

namespace sparing {
namespace {

constexpr std::int32_t kUnusedToken = 5;

/// GGUF's name for the architecture; what llama.cpp would compute differently under it is refused.
Result<std::string> architecture_of(const ModelConfig& c) {
  const auto refuse = [](const std::string& what) {
    return usage_error("[export] " + what + ", which GGUF's readers cannot hold: write a Sparing directory");
  };
  std::string name = c.architecture == "mistral" ? "llama" : c.architecture;
  if (c.qk_norm != (name == "qwen3")) return refuse("QK norms in a " + c.architecture + " model");
  if (name == "qwen2" && !c.qkv_bias) return refuse("qwen2 without biases");
  const bool divided = !c.rope.divisors.empty() || c.rope.scaling == RopeConfig::Scaling::llama3;
  if (divided && name != "llama") return refuse("llama3 rope scaling in a " + c.architecture + " model");
  if (c.sliding_window > 0 && c.sliding_window < c.context) {
    log_warning("llama.cpp ignores the sliding window of " + std::to_string(c.sliding_window) +
                " tokens: longer texts will differ there");
  }
  if (std::ranges::all_of(c.layers, [&](const LayerConfig& layer) { return layer == c.layers.front(); })) return name;
  if (name != "llama" || c.rope.dimension != c.head_dim)
    return refuse("layers of different widths in a " + c.architecture + " model");
  return std::string(kGgufUnequalLlama);
}

void put_layers(const ModelConfig& c, const std::string& arch, GgufMetadata& m) {
  const auto put = [&](const char* key, auto field) {
    std::vector<std::int32_t> all;
    for (const LayerConfig& layer : c.layers) all.push_back(layer.*field);
    if (std::all_of(all.begin(), all.end(), [&](std::int32_t v) { return v == all.front(); })) {
      m.put(arch + "." + key, static_cast<std::uint32_t>(all.front()));
    } else {
      m.put(arch + "." + key, all);
    }
  };
  put("feed_forward_length", &LayerConfig::ffn);
  put("attention.head_count", &LayerConfig::heads);
  put("attention.head_count_kv", &LayerConfig::kv_heads);
}

void put_config(const ModelConfig& c, const std::string& arch, GgufMetadata& m) {
  const auto number = [&](const char* key, std::int64_t v) { m.put(arch + "." + key, static_cast<std::uint32_t>(v)); };
  number("block_count", static_cast<std::int64_t>(c.layers.size()));
  number("context_length", c.context);
  number("embedding_length", c.hidden);
  put_layers(c, arch, m);
  number("attention.key_length", c.head_dim);
  number("attention.value_length", c.head_dim);
  m.put(arch + ".attention.layer_norm_rms_epsilon", c.rms_eps);
  if (c.sliding_window > 0) number("attention.sliding_window", c.sliding_window);
  number("vocab_size", c.vocab);
  number("rope.dimension_count", c.rope.dimension);
  m.put(arch + ".rope.freq_base", static_cast<float>(c.rope.theta));
  if (c.rope.scaling == RopeConfig::Scaling::linear) {
    m.put(arch + ".rope.scaling.type", "linear");
    m.put(arch + ".rope.scaling.factor", static_cast<float>(c.rope.factor));
  }
}

Status put_vocab(const Checkpoint& checkpoint, const GgufVocab& vocab, GgufMetadata& m) {
  const ModelConfig& c = checkpoint.config();
  const auto size = static_cast<std::size_t>(c.vocab);
  if (vocab.tokens.size() > size) {
    return input_error("[export] the tokenizer has " + std::to_string(vocab.tokens.size()) + " tokens, the model " +
                       std::to_string(size) + ": give the model's own with --tokenizer");
  }
  const auto put = [&](const char* key, const auto& value) { m.put(std::string("tokenizer.ggml.") + key, value); };
  put("model", std::string_view(vocab.model));
  if (!vocab.pre.empty()) put("pre", std::string_view(vocab.pre));
  // Readers take the vocabulary's size from this list: rows of the embedding beyond it get names of their own.
  std::vector<std::string> tokens = vocab.tokens;
  for (std::size_t i = tokens.size(); i < size; ++i) tokens.push_back("[PAD" + std::to_string(i) + "]");
  put("tokens", tokens);
  if (!vocab.scores.empty()) {
    std::vector<float> scores = vocab.scores;
    scores.resize(size, 0.0f);
    put("scores", scores);
  }
  std::vector<std::int32_t> types = vocab.types;
  if (types.empty()) types.assign(vocab.tokens.size(), 1);
  types.resize(size, kUnusedToken);
  put("token_type", types);
  if (!vocab.merges.empty()) put("merges", vocab.merges);

  const auto id = [&](const char* key, std::int32_t value) {
    if (value >= 0) put(key, static_cast<std::uint32_t>(value));
  };
  id("bos_token_id", vocab.bos >= 0 ? vocab.bos : c.bos);
  const std::int32_t eos = vocab.eos >= 0 ? vocab.eos : c.eos.empty() ? -1 : c.eos.front();
  id("eos_token_id", eos);
  // GGUF has names for three tokens that end a text.
  const char* more[] = {"eot_token_id", "eom_token_id"};
  std::size_t used = 0;
  for (const std::int32_t other : c.eos) {
    if (other != eos && used < 2) id(more[used++], other);
  }
  id("unknown_token_id", vocab.unknown);
  id("padding_token_id", vocab.pad >= 0 ? vocab.pad : c.pad);
  const auto flag = [&](const char* key, int value) {
    if (value >= 0) put(key, value != 0);
  };
  flag("add_bos_token", vocab.add_bos);
  flag("add_eos_token", vocab.add_eos);
  flag("add_space_prefix", vocab.add_space_prefix);
  if (const auto text = checkpoint.chat_template(); text) m.put("tokenizer.chat_template", *text);
  return {};
}

/// llama.cpp's number for a file that is mostly of one type.
std::uint32_t file_type_of(const std::vector<GgufTensorReport>& tensors) {
  static constexpr std::pair<GgmlType, std::uint32_t> kNumbers[] = {
      {GgmlType::f32, 0},   {GgmlType::f16, 1},   {GgmlType::q4_0, 2},    {GgmlType::q4_1, 3},    {GgmlType::q8_0, 7},
      {GgmlType::q5_0, 8},  {GgmlType::q5_1, 9},  {GgmlType::q2_k, 10},   {GgmlType::q3_k, 12},   {GgmlType::q4_k, 15},
      {GgmlType::q5_k, 17}, {GgmlType::q6_k, 18}, {GgmlType::iq4_nl, 25}, {GgmlType::iq4_xs, 30}, {GgmlType::bf16, 32}};
  std::uint32_t number = 1;
  std::int64_t most = 0;
  for (const auto& [type, name] : kNumbers) {
    std::int64_t weights = 0;
    for (const GgufTensorReport& tensor : tensors) weights += tensor.type == type ? tensor.weights : 0;
    if (weights > most) most = weights, number = name;
  }
  return number;
}

}  // namespace

Status export_gguf(const Checkpoint& checkpoint, const std::filesystem::path& out, const GgufExport& options) {
  if (options.type && !ggml_can_encode(*options.type)) {
    return usage_error("[export] GGUF type " + ggml_type_name(static_cast<std::uint32_t>(*options.type)) +
                       ": values are rounded to F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0");
  }
  const GgufVocab* vocab = options.vocab;
  if (vocab == nullptr) vocab = std::get_if<GgufVocab>(&checkpoint.tokenizer());
  if (vocab == nullptr) return usage_error("[export] a GGUF needs a tokenizer: give one with --tokenizer");
  SPARING_CHECK_OK(refuse_existing(out));
  const ModelConfig& config = checkpoint.config();
  SPARING_TRY(const std::string arch, architecture_of(config));
  SPARING_TRY(std::vector<GgufTensorReport> types, choose_gguf_types(checkpoint, options));

  GgufMetadata metadata;
  metadata.put("general.architecture", arch);
  metadata.put("general.type", "model");
  metadata.put("general.name", config.name);
  if (const auto card = checkpoint.carried().find("README.md"); card != checkpoint.carried().end()) {
    put_card(card->second, metadata);
  }
  metadata.put("general.file_type", file_type_of(types));
  metadata.put("general.quantization_version", std::uint32_t{2});
  put_config(config, arch, metadata);
  SPARING_CHECK_OK(put_vocab(checkpoint, *vocab, metadata));

  std::vector<float> divisors = config.rope.divisors;
  if (config.rope.scaling == RopeConfig::Scaling::llama3) divisors = llama3_divisors(config.rope);
  std::vector<GgufTensorPlan> plan;
  if (!divisors.empty()) {
    plan.push_back({"rope_freqs.weight", {static_cast<std::int64_t>(divisors.size())}, GgmlType::f32});
  }
  const std::vector<TensorShape> shapes = expected_tensors(config);
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    GgufTensorPlan tensor{gguf_tensor_name(shapes[i].name), {shapes[i].rows}, types[i].type};
    if (!shapes[i].is_vector()) tensor.shape = {shapes[i].cols, shapes[i].rows};
    plan.push_back(std::move(tensor));
  }
  SPARING_TRY(GgufWriter writer, GgufWriter::create(out, metadata, plan));
  if (!divisors.empty()) SPARING_CHECK_OK(writer.write(std::as_bytes(std::span(divisors))));
  for (std::size_t i = 0; i < shapes.size(); ++i) {
    SPARING_CHECK_OK(write_gguf_tensor(checkpoint, shapes[i], gguf_interleaves_rope(arch), writer, types[i]));
    if (options.progress) options.progress(shapes[i].name);
    if (interrupted()) return interrupted_error("export");
  }
  if (options.report != nullptr) *options.report = std::move(types);
  return writer.commit();
}

}  // namespace sparing
