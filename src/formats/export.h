#pragma once
// Models for other tools: Hugging Face directories and GGUF files. Tensor by tensor, a few rows at a time; nothing
// appears before it is complete.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "codecs/ggml.h"
#include "formats/checkpoint.h"

namespace sparing {

/// Called after each tensor with its name.
using ExportProgress = std::function<void(const std::string& tensor)>;

struct HfExport {
  DType dtype = DType::f16;         ///< f16, bf16 or f32, of every tensor
  std::string tokenizer_json = {};  ///< text of tokenizer.json; empty: none is written
  /// Texts for tokenizer_config.json; empty: none.
  std::string bos_token = {}, eos_token = {}, unknown_token = {}, pad_token = {};
  std::uint64_t shard_bytes = 5'000'000'000;  ///< tensors per file, with an index from two files on
  ExportProgress progress = {};
};
/// A directory that transformers loads. Refuses an existing `out`, a configuration that transformers cannot hold, and
/// values outside the dtype's range.
Status export_hf(const Checkpoint& checkpoint, const std::filesystem::path& out, const HfExport& options);

struct GgufExport {
  GgmlType type = GgmlType::f16;     ///< f32, f16, bf16 or q8_0 of matrices; vectors are f32
  const GgufVocab* vocab = nullptr;  ///< null: the checkpoint's own, if it is a GGUF
  ExportProgress progress = {};
};
/// A GGUF file that llama.cpp loads. Rows that q8_0's blocks of 32 do not divide are stored as f16.
Status export_gguf(const Checkpoint& checkpoint, const std::filesystem::path& out, const GgufExport& options);

}  // namespace sparing
