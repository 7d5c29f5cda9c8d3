#pragma once
// GGUF metadata as ModelConfig, and the names and row orders of its tensors.

#include <string>
#include <string_view>

#include "formats/gguf.h"
#include "formats/model_config.h"
#include "formats/tokenizer_source.h"

namespace sparing {

/// llama.cpp's name for a llama whose layers differ in width: as "llama" it reads the first one's width for all.
inline constexpr std::string_view kGgufUnequalLlama = "deci";

/// Architectures llama (Mistral is one there, and so is deci), qwen2 and qwen3; others are refused by name. `where`
/// begins messages.
Result<ModelConfig> config_from_gguf(const GgufHeader& header, const std::string& where);

/// "layers.3.attn.q.bias" -> "blk.3.attn_q.bias".
std::string gguf_tensor_name(const std::string& canonical);

/// llama's q and k lie in GGUF with the two halves of each head interleaved; qwen's do not.
bool gguf_interleaves_rope(const std::string& architecture);
/// For each row of q or k in half-rotation order, the row that holds it in interleaved order. `dimension` inputs of
/// each head rotate; the others stay.
std::vector<std::int32_t> interleaved_rows(std::int32_t heads, std::int32_t head_dim, std::int32_t dimension);

/// tokenizer.ggml.*.
Result<GgufVocab> read_gguf_vocab(const GgufHeader& header, const std::string& where);

}  // namespace sparing
