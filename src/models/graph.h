#pragma once
// A model written once, as a small graph of coarse operations over values of shape [tokens, width].
// The runtime compiles it; the lab interprets it with libtorch; the planner walks it for bytes and flops.

#include <cstdint>
#include <string>
#include <vector>

#include "formats/model_config.h"

namespace sparing {

enum class OpKind : std::uint8_t {
  embed,      ///< token ids -> rows of the site
  rms_norm,   ///< x / rms(x) * weight, over `span` consecutive inputs at a time (the width, or head_dim for QK norm)
  linear,     ///< site's weight, plus `bias` if named
  rope,       ///< rotates halves of each head by its token's position
  attention,  ///< inputs q, k, v; causal, grouped heads, softmax(q k' / sqrt(head_dim)) v; appends k and v to layer's
              ///< cache
  swiglu,     ///< silu(gate) * up
  add,
};

using Value = std::int32_t;  ///< index into Graph::widths

inline constexpr std::int32_t kFewBits = 4;

struct Op {
  OpKind kind = OpKind::add;
  std::vector<Value> inputs = {};
  Value output = -1;
  std::string site = {};  ///< canonical tensor name: embed, linear, rms_norm
  std::string bias = {};  ///< linear: canonical name, or empty
  /// linear: 8 or 16, what its inputs may be rounded to where its codes are integers; and the same where those codes
  /// have at most kFewBits, whose own damage is a hundred times that of the inputs' rounding.
  std::int32_t activation_bits = 8, activation_bits_few = 8;
  std::int32_t layer = -1;
  std::int32_t heads = 0, kv_heads = 0, head_dim = 0, window = 0;  ///< attention (all), rope (heads, head_dim)
  std::int32_t span = 0;                                           ///< rms_norm
};

struct Graph {
  std::vector<std::int32_t> widths;  ///< of each value
  std::vector<Op> ops;               ///< in execution order
  Value input = -1;                  ///< -1: token ids
  Value output = -1;
};

/// embed: ids -> hidden; block(i): hidden -> hidden; head: hidden -> logits (final norm included).
struct ModelGraph {
  ModelConfig config;
  Graph embed, head;
  std::vector<Graph> blocks;
};

/// Chooses the architecture's builder; refuses one that is unknown, naming those there are.
Result<ModelGraph> build_graph(const ModelConfig& config);

/// Inverse frequencies of rope with scaling applied, dimension / 2 of them.
std::vector<double> rope_frequencies(const RopeConfig& rope);

}  // namespace sparing
