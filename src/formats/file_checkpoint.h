#pragma once
// The part that Hugging Face, GGUF and llama2.c checkpoints share: canonical tensors found in mapped files, as dense
// views where the file holds them row by row, transcoded otherwise.

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "codecs/ggml.h"
#include "formats/checkpoint.h"
#include "formats/hf_packed.h"

namespace sparing {

struct SourceTensor {
  std::string file_name;  ///< its name in the file, for messages
  GgmlType type = GgmlType::f32;
  TensorShape shape;  ///< as the file has it; name unused
  std::shared_ptr<const MappedFile> file;
  Bytes bytes;
  bool interleaved = false;  ///< rows of q or k with the halves of each head interleaved
  /// Set for a matrix that another toolkit has packed; `type`, `file` and `bytes` are not used then.
  std::shared_ptr<const PackedLinear> packed;

  /// Its parts as they lie in files.
  std::vector<PackedPart> parts() const;
};

struct CheckpointParts {
  CheckpointFormat format = CheckpointFormat::huggingface;
  ModelConfig config;
  std::filesystem::path path;
  std::map<std::string, SourceTensor> tensors;  ///< by canonical name
  TokenizerSource tokenizer;
  std::uint64_t total_bytes = 0;
  std::map<std::string, std::string> carried;
};

class FileCheckpoint final : public Checkpoint {
 public:
  /// Refuses missing tensors and wrong shapes by name.
  static Result<std::shared_ptr<const Checkpoint>> make(CheckpointParts parts);

  CheckpointFormat format() const override { return parts_.format; }
  const ModelConfig& config() const override { return parts_.config; }
  const std::filesystem::path& path() const override { return parts_.path; }
  const std::vector<TensorEntry>& tensors() const override { return entries_; }
  Result<CodedWeight> weight(const std::string& name, Arena* arena) const override;
  Result<std::vector<float>> vector(const std::string& name) const override;
  Result<std::vector<Bytes>> stored(const std::string& name) const override;
  void forget(const std::string& name) const override;
  const TokenizerSource& tokenizer() const override { return parts_.tokenizer; }
  std::uint64_t total_bytes() const override { return parts_.total_bytes; }
  const std::map<std::string, std::string>& carried() const override { return parts_.carried; }

 private:
  explicit FileCheckpoint(CheckpointParts parts) : parts_(std::move(parts)) {}
  Result<const SourceTensor*> find(const std::string& name, bool vector) const;
  std::string where() const { return "[open] " + parts_.path.string(); }
  CheckpointParts parts_;
  std::vector<TensorEntry> entries_;
};

// The formats. `path` has been recognised by open_checkpoint.
Result<std::shared_ptr<const Checkpoint>> open_gguf_checkpoint(const std::filesystem::path& file,
                                                               const OpenOptions& options);
Result<std::shared_ptr<const Checkpoint>> open_llama2c_checkpoint(const std::filesystem::path& file,
                                                                  const OpenOptions& options);
/// A directory, or one safetensors file with config.json beside it.
Result<std::shared_ptr<const Checkpoint>> open_hf_checkpoint(const std::filesystem::path& path,
                                                             const OpenOptions& options);
Result<std::shared_ptr<const Checkpoint>> open_sparing_checkpoint(const std::filesystem::path& folder,
                                                                  const OpenOptions& options);

}  // namespace sparing
