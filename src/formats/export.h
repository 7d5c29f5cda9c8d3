#pragma once
// Models for other tools: Hugging Face directories and GGUF files. Tensor by tensor, a few rows at a time; nothing
// appears before it is complete.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "codecs/ggml.h"
#include "formats/checkpoint.h"
#include "formats/hf_quantization.h"

namespace sparing {

/// Called after each tensor with its name.
using ExportProgress = std::function<void(const std::string& tensor)>;

struct HfExport {
  DType dtype = DType::f16;  ///< f16, bf16 or f32, of every tensor that is not packed
  /// The linear weights' codes as they are (gptq or compressed; f16 beside them): see hf_pack.h for what can be. Empty:
  /// floats.
  std::optional<HfPacking> packing = {};
  std::string tokenizer_json = {};  ///< text of tokenizer.json; empty: none is written
  /// Texts for tokenizer_config.json; empty: none.
  std::string bos_token = {}, eos_token = {}, unknown_token = {}, pad_token = {};
  std::uint64_t shard_bytes = 5'000'000'000;  ///< tensors per file, with an index from two files on
  ExportProgress progress = {};
};
/// A directory that transformers loads. Refuses an existing `out`, a configuration that transformers cannot hold, and
/// values outside the dtype's range.
Status export_hf(const Checkpoint& checkpoint, const std::filesystem::path& out, const HfExport& options);

/// What became of one tensor in a GGUF.
struct GgufTensorReport {
  std::string tensor;
  GgmlType type = GgmlType::f32;
  bool exact = false;  ///< the file's values are the model's
  std::int64_t weights = 0;
  double error = 0, size = 0;     ///< sums of squares: of the differences, of the weights
  double relative_error() const;  ///< sqrt(error / size)
};

struct GgufExport {
  /// Of every matrix, by rounding; rows that its blocks do not divide become F16. Empty: each matrix in the type that
  /// holds its code exactly where there is one, else in the smallest of Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, F16 and F32 whose
  /// relative error is at most max_error.
  std::optional<GgmlType> type = {};
  double max_error = 0.01;
  const GgufVocab* vocab = nullptr;                 ///< null: the checkpoint's own, if it is a GGUF
  std::vector<GgufTensorReport>* report = nullptr;  ///< filled in the model's order, vectors too
  ExportProgress progress = {};
};
/// A GGUF file that llama.cpp loads. Vectors are F32.
Status export_gguf(const Checkpoint& checkpoint, const std::filesystem::path& out, const GgufExport& options);

}  // namespace sparing
