#pragma once
// What a decoder model of the Llama family is, whatever file said so.

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace sparing {

struct LayerConfig {
  std::int32_t heads = 0;
  std::int32_t kv_heads = 0;
  std::int32_t ffn = 0;  ///< width of gate, up and down's input
  bool operator==(const LayerConfig&) const = default;
};

struct RopeConfig {
  enum class Scaling : std::uint8_t { none, linear, llama3 };
  double theta = 10000.0;
  std::int32_t dimension = 0;  ///< rotated inputs of each head; head_dim unless partial
  Scaling scaling = Scaling::none;
  double factor = 1.0, low_frequency_factor = 1.0, high_frequency_factor = 4.0;  ///< llama3
  std::int32_t original_context = 8192;                                          ///< llama3
  std::vector<float> divisors;  ///< GGUF's rope_freqs.weight: divides each frequency; empty unless given
  bool operator==(const RopeConfig&) const = default;
};

struct ModelConfig {
  std::string architecture;  ///< "llama", "mistral", "qwen2", "qwen3"
  std::string name;          ///< for people
  std::int32_t hidden = 0, head_dim = 0, vocab = 0, context = 0;
  std::vector<LayerConfig> layers;  ///< per-layer widths are ordinary
  float rms_eps = 1e-5f;
  RopeConfig rope;
  std::int32_t sliding_window = 0;  ///< 0: full attention
  bool tied_head = false;           ///< the head is the embedding
  bool qkv_bias = false, o_bias = false, mlp_bias = false, qk_norm = false;
  /// 16: what codes are multiplied with, all of them (Op::activation_bits); 0: what the graph says of each.
  std::int32_t activation_bits = 0;
  std::int32_t bos = -1, pad = -1;
  std::vector<std::int32_t> eos;  ///< every token that ends a text

  bool operator==(const ModelConfig&) const = default;
};

/// Ranges, divisibility (heads by kv heads), products that overflow. Every reader calls it.
Status validate(const ModelConfig& config);

/// Canonical tensor names, the same for every format:
///   embed, norm, head (absent when tied), layers.N.attn_norm, layers.N.mlp_norm,
///   layers.N.attn.{q,k,v,o}[.bias], layers.N.attn.{q_norm,k_norm}, layers.N.mlp.{gate,up,down}[.bias]
/// Rows of q and k are in Hugging Face's order (rope rotates halves), whatever the file has.
struct TensorShape {
  std::string name;
  std::int64_t rows = 0, cols = 0;  ///< a vector has cols == 0
  bool is_vector() const { return cols == 0; }
};
/// Every tensor the model must have, in canonical order (embed, layers ascending, norm, head).
std::vector<TensorShape> expected_tensors(const ModelConfig& config);

}  // namespace sparing
