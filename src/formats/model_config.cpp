#include "formats/model_config.h"

#include <cmath>

namespace sparing {
namespace {

// Bounds far above any model; with them no product of two widths, nor their sum over layers, leaves 64 bits.
constexpr std::int32_t kMaxHidden = 1 << 20, kMaxVocab = 1 << 24, kMaxFfn = 1 << 24, kMaxHeads = 1 << 16,
                       kMaxHeadDim = 4096, kMaxContext = 1 << 28;
constexpr std::size_t kMaxLayers = 4096;

Status in_range(const char* what, std::int64_t value, std::int64_t min, std::int64_t max) {
  if (value >= min && value <= max) return {};
  return input_error("[config] " + std::string(what) + " is " + std::to_string(value) + ": must be " +
                     std::to_string(min) + " to " + std::to_string(max));
}

Status positive(const char* what, double value) {
  if (std::isfinite(value) && value > 0) return {};
  return input_error("[config] " + std::string(what) + " is " + std::to_string(value) + ": must be above zero");
}

Status validate_rope(const RopeConfig& rope, std::int32_t head_dim) {
  SPARING_CHECK_OK(positive("rope theta", rope.theta));
  SPARING_CHECK_OK(in_range("rope dimension", rope.dimension, 2, head_dim));
  if (rope.dimension % 2 != 0) {
    return input_error("[config] rope dimension is " + std::to_string(rope.dimension) + ": must be even");
  }
  SPARING_CHECK_OK(positive("rope scaling factor", rope.factor));
  if (rope.scaling == RopeConfig::Scaling::llama3) {
    SPARING_CHECK_OK(positive("rope low frequency factor", rope.low_frequency_factor));
    SPARING_CHECK_OK(positive("rope high frequency factor", rope.high_frequency_factor));
    SPARING_CHECK_OK(in_range("rope original context", rope.original_context, 1, kMaxContext));
    if (rope.high_frequency_factor <= rope.low_frequency_factor) {
      return input_error("[config] rope high frequency factor is not above the low one");
    }
  }
  if (!rope.divisors.empty()) {
    SPARING_CHECK_OK(in_range("number of rope divisors", static_cast<std::int64_t>(rope.divisors.size()),
                              rope.dimension / 2, rope.dimension / 2));
    for (const float d : rope.divisors) SPARING_CHECK_OK(positive("a rope divisor", d));
  }
  return {};
}

}  // namespace

Status validate(const ModelConfig& config) {
  SPARING_CHECK_OK(in_range("hidden width", config.hidden, 1, kMaxHidden));
  SPARING_CHECK_OK(in_range("head width", config.head_dim, 2, kMaxHeadDim));
  SPARING_CHECK_OK(in_range("vocabulary", config.vocab, 1, kMaxVocab));
  SPARING_CHECK_OK(in_range("context", config.context, 1, kMaxContext));
  SPARING_CHECK_OK(in_range("number of layers", static_cast<std::int64_t>(config.layers.size()), 1, kMaxLayers));
  for (const LayerConfig& layer : config.layers) {
    SPARING_CHECK_OK(in_range("number of heads", layer.heads, 1, kMaxHeads));
    SPARING_CHECK_OK(in_range("number of key-value heads", layer.kv_heads, 1, layer.heads));
    SPARING_CHECK_OK(in_range("feed-forward width", layer.ffn, 1, kMaxFfn));
    if (layer.heads % layer.kv_heads != 0) {
      return input_error("[config] " + std::to_string(layer.heads) + " heads do not divide into " +
                         std::to_string(layer.kv_heads) + " key-value heads");
    }
  }
  SPARING_CHECK_OK(positive("RMS norm epsilon", config.rms_eps));
  SPARING_CHECK_OK(validate_rope(config.rope, config.head_dim));
  if (config.activation_bits != 0 && config.activation_bits != 16) {
    return input_error("[config] activation bits are " + std::to_string(config.activation_bits) + ": must be 0 or 16");
  }
  SPARING_CHECK_OK(in_range("sliding window", config.sliding_window, 0, kMaxContext));
  SPARING_CHECK_OK(in_range("beginning-of-text token", config.bos, -1, config.vocab - 1));
  SPARING_CHECK_OK(in_range("padding token", config.pad, -1, config.vocab - 1));
  SPARING_CHECK_OK(in_range("number of end-of-text tokens", static_cast<std::int64_t>(config.eos.size()), 0, 1024));
  for (const std::int32_t id : config.eos) SPARING_CHECK_OK(in_range("end-of-text token", id, 0, config.vocab - 1));
  return {};
}

std::vector<TensorShape> expected_tensors(const ModelConfig& config) {
  std::vector<TensorShape> tensors;
  const std::int64_t hidden = config.hidden, head_dim = config.head_dim;
  const auto matrix = [&](std::string name, std::int64_t rows, std::int64_t cols, bool bias) {
    tensors.push_back({name, rows, cols});
    if (bias) tensors.push_back({name + ".bias", rows, 0});
  };
  tensors.push_back({"embed", config.vocab, hidden});
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    const LayerConfig& layer = config.layers[i];
    const std::string prefix = "layers." + std::to_string(i) + ".";
    const std::int64_t q = layer.heads * head_dim, kv = layer.kv_heads * head_dim;
    tensors.push_back({prefix + "attn_norm", hidden, 0});
    matrix(prefix + "attn.q", q, hidden, config.qkv_bias);
    matrix(prefix + "attn.k", kv, hidden, config.qkv_bias);
    matrix(prefix + "attn.v", kv, hidden, config.qkv_bias);
    if (config.qk_norm) {
      tensors.push_back({prefix + "attn.q_norm", head_dim, 0});
      tensors.push_back({prefix + "attn.k_norm", head_dim, 0});
    }
    matrix(prefix + "attn.o", hidden, q, config.o_bias);
    tensors.push_back({prefix + "mlp_norm", hidden, 0});
    matrix(prefix + "mlp.gate", layer.ffn, hidden, config.mlp_bias);
    matrix(prefix + "mlp.up", layer.ffn, hidden, config.mlp_bias);
    matrix(prefix + "mlp.down", hidden, layer.ffn, config.mlp_bias);
  }
  tensors.push_back({"norm", hidden, 0});
  if (!config.tied_head) tensors.push_back({"head", config.vocab, hidden});
  return tensors;
}

}  // namespace sparing
