#include <algorithm>
#include <cmath>

#include "base/interrupt.h"
#include "base/log.h"
#include "formats/export.h"
#include "formats/export_rows.h"
#include "formats/gguf_config.h"
#include "formats/gguf_writer.h"
#include "formats/hf_config.h"
#include "formats/json.h"
#include "formats/staging.h"
#include "tensor/half.h"

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
  return name;
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

/// The value of "license:" in the front matter of a model card.
std::string licence_of(const Checkpoint& checkpoint) {
  const auto card = checkpoint.carried().find("README.md");
  if (card == checkpoint.carried().end() || !card->second.starts_with("---\n")) return {};
  const std::string front = card->second.substr(3, card->second.find("\n---", 4));
  const auto at = front.find("\nlicense:");
  if (at == std::string::npos) return {};
  const auto begin = front.find_first_not_of(" \"'", at + 9), end = front.find_first_of(" \"'\r\n", begin);
  return begin == std::string::npos ? std::string() : front.substr(begin, end - begin);
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

struct Plan {
  std::vector<TensorShape> shapes;
  std::vector<GgufTensorPlan> tensors;
  std::vector<float> divisors;  ///< rope_freqs.weight, the first tensor, if not empty
};

Plan plan_tensors(const ModelConfig& config, GgmlType type) {
  Plan plan;
  plan.divisors = config.rope.divisors;
  if (config.rope.scaling == RopeConfig::Scaling::llama3) plan.divisors = llama3_divisors(config.rope);
  if (!plan.divisors.empty()) {
    plan.tensors.push_back({"rope_freqs.weight", {static_cast<std::int64_t>(plan.divisors.size())}, GgmlType::f32});
  }
  const auto block = ggml_traits(static_cast<std::uint32_t>(type))->block_weights;
  for (const TensorShape& shape : expected_tensors(config)) {
    plan.shapes.push_back(shape);
    if (shape.is_vector()) {
      plan.tensors.push_back({gguf_tensor_name(shape.name), {shape.rows}, GgmlType::f32});
    } else {
      plan.tensors.push_back(
          {gguf_tensor_name(shape.name), {shape.cols, shape.rows}, shape.cols % block == 0 ? type : GgmlType::f16});
    }
  }
  return plan;
}

bool rotates(const std::string& name) {
  return name.ends_with(".attn.q") || name.ends_with(".attn.k") || name.ends_with(".attn.q.bias") ||
         name.ends_with(".attn.k.bias");
}

/// For each row in interleaved order, the row that holds it in half-rotation order.
std::vector<std::int32_t> half_rotation_rows(const ModelConfig& config, std::int64_t rows) {
  const auto order =
      interleaved_rows(static_cast<std::int32_t>(rows / config.head_dim), config.head_dim, config.rope.dimension);
  std::vector<std::int32_t> inverse(order.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    inverse[static_cast<std::size_t>(order[i])] = static_cast<std::int32_t>(i);
  }
  return inverse;
}

/// An f16 (also the scale of a q8_0 block) that is infinite means a weight too large for it.
Status check_range(std::span<const float> values, GgmlType type, const std::string& tensor) {
  if (type == GgmlType::f32 || type == GgmlType::bf16) return {};
  const float limit = type == GgmlType::q8_0 ? 65504.0f * 127 : 65504.0f;
  for (const float v : values) {
    if (std::abs(v) <= limit) continue;
    return input_error("[export] tensor " + tensor + " holds " + std::to_string(v) + ", too large for " +
                       std::string(ggml_traits(static_cast<std::uint32_t>(type))->name) + ": export F32");
  }
  return {};
}

Status write_tensor(const Checkpoint& checkpoint, const TensorShape& shape, GgmlType type, bool interleave,
                    GgufWriter& writer) {
  std::vector<std::int32_t> order;
  if (interleave && rotates(shape.name)) order = half_rotation_rows(checkpoint.config(), shape.rows);
  const GgmlTraits& traits = *ggml_traits(static_cast<std::uint32_t>(type));
  std::vector<std::byte> encoded;
  return for_each_rows(
      checkpoint, shape, order.empty() ? nullptr : &order, [&](std::span<const float> values) -> Status {
        SPARING_CHECK_OK(check_range(values, type, shape.name));
        encoded.resize(values.size() / static_cast<std::size_t>(traits.block_weights) *
                       static_cast<std::size_t>(traits.block_bytes));
        SPARING_CHECK_OK(ggml_encode(type, values.data(), static_cast<std::int64_t>(values.size()), encoded.data()));
        return writer.write(encoded);
      });
}

}  // namespace

Status export_gguf(const Checkpoint& checkpoint, const std::filesystem::path& out, const GgufExport& options) {
  if (options.type != GgmlType::f32 && options.type != GgmlType::f16 && options.type != GgmlType::bf16 &&
      options.type != GgmlType::q8_0) {
    return usage_error("[export] GGUF type " + ggml_type_name(static_cast<std::uint32_t>(options.type)) +
                       ": F32, F16, BF16 and Q8_0 are written");
  }
  const GgufVocab* vocab = options.vocab;
  if (vocab == nullptr) vocab = std::get_if<GgufVocab>(&checkpoint.tokenizer());
  if (vocab == nullptr) return usage_error("[export] a GGUF needs a tokenizer: give one with --tokenizer");
  SPARING_CHECK_OK(refuse_existing(out));
  const ModelConfig& config = checkpoint.config();
  SPARING_TRY(const std::string arch, architecture_of(config));

  GgufMetadata metadata;
  metadata.put("general.architecture", arch);
  metadata.put("general.type", "model");
  metadata.put("general.name", config.name);
  if (const std::string licence = licence_of(checkpoint); !licence.empty()) metadata.put("general.license", licence);
  const std::uint32_t file_types[] = {0, 1, 32, 7};  // llama.cpp's "mostly F32, F16, BF16, Q8_0"
  metadata.put("general.file_type", options.type == GgmlType::f32    ? file_types[0]
                                    : options.type == GgmlType::f16  ? file_types[1]
                                    : options.type == GgmlType::bf16 ? file_types[2]
                                                                     : file_types[3]);
  metadata.put("general.quantization_version", std::uint32_t{2});
  put_config(config, arch, metadata);
  SPARING_CHECK_OK(put_vocab(checkpoint, *vocab, metadata));

  const Plan plan = plan_tensors(config, options.type);
  SPARING_TRY(GgufWriter writer, GgufWriter::create(out, metadata, plan.tensors));
  if (!plan.divisors.empty()) SPARING_CHECK_OK(writer.write(std::as_bytes(std::span(plan.divisors))));
  const std::size_t first = plan.divisors.empty() ? 0 : 1;
  for (std::size_t i = 0; i < plan.shapes.size(); ++i) {
    const TensorShape& shape = plan.shapes[i];
    SPARING_CHECK_OK(
        write_tensor(checkpoint, shape, plan.tensors[first + i].type, gguf_interleaves_rope(arch), writer));
    if (options.progress) options.progress(shape.name);
    if (interrupted()) return interrupted_error("export");
  }
  return writer.commit();
}

}  // namespace sparing
