#pragma once
#include "models/graph.h"

namespace sparing {

/// The pre-norm decoder that Llama, Mistral, Qwen2, Qwen3 and SmolLM share: grouped-query attention with rope, SwiGLU.
/// They differ only in what ModelConfig says: biases, QK norm, sliding window, tied head.
Result<ModelGraph> build_llama(const ModelConfig& config);

}  // namespace sparing
