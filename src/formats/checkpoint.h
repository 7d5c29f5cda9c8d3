#pragma once
// One view of a model on disk, whatever its format. Nothing is read whole: weights are views into the map, or
// transcoded when asked for.

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "codecs/coded_weight.h"
#include "formats/model_config.h"
#include "formats/tokenizer_source.h"
#include "tensor/arena.h"

namespace sparing {

enum class CheckpointFormat { huggingface, gguf, llama2c, sparing };
std::string_view name_of(CheckpointFormat format);

struct TensorEntry {
  TensorShape shape;
  std::string coding;              ///< "Q4_1", "F16", "int_group 4b g64 ..."
  std::uint64_t stored_bytes = 0;  ///< in the file
};

class Checkpoint {
 public:
  virtual ~Checkpoint() = default;
  virtual CheckpointFormat format() const = 0;
  virtual const ModelConfig& config() const = 0;
  virtual const std::filesystem::path& path() const = 0;
  /// All expected tensors, in canonical order; opening has checked that they exist with these shapes.
  virtual const std::vector<TensorEntry>& tensors() const = 0;
  /// A matrix by canonical name. Thread-safe. Sizes, indices and values (finite) have been checked. What cannot be used
  /// in place is put into `arena`, if there is one, and its pages in the file are let go.
  virtual Result<CodedWeight> weight(const std::string& name, Arena* arena = nullptr) const = 0;
  /// A norm or bias as f32, all finite.
  virtual Result<std::vector<float>> vector(const std::string& name) const = 0;
  /// The bytes of a tensor as they lie in the file, for hashing: one part, or a coded weight's transform and terms.
  virtual Result<std::vector<Bytes>> stored(const std::string& name) const = 0;
  /// Lets go of the file pages behind a matrix (after a repack, or a layer that has been used).
  virtual void forget(const std::string& name) const = 0;
  virtual const TokenizerSource& tokenizer() const = 0;
  /// Every byte of the model's files that count: weights, tokenizer, metadata.
  virtual std::uint64_t total_bytes() const = 0;
  /// Carried along: "generation_config.json", "chat_template.jinja", "LICENSE", "README.md", ... by name, with
  /// contents.
  virtual const std::map<std::string, std::string>& carried() const = 0;
  std::optional<std::string> chat_template() const;
  /// sparing.json's text for a Sparing directory (ledger, recipe, provenance); empty otherwise.
  virtual std::string manifest() const { return {}; }
};

struct OpenOptions {
  std::filesystem::path tokenizer;  ///< --tokenizer: overrides or supplies the tokenizer file
};
/// A file or directory, or a name in the local Hugging Face cache (org/model). Pickles, unknown formats and broken
/// files are refused by name.
Result<std::shared_ptr<const Checkpoint>> open_checkpoint(const std::string& path_or_name,
                                                          const OpenOptions& options = {});

/// Hash over every tensor's name, shape and stored bytes, then config: identifies a model in plans and provenance. Hex.
Result<std::string> checkpoint_hash(const Checkpoint& checkpoint);

}  // namespace sparing
