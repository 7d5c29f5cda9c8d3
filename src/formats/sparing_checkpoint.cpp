
#include <atomic>
#include <cmath>
#include <cstring>

#include "base/atomic_file.h"
#include "base/checked.h"
#include "formats/carried.h"
#include "formats/file_checkpoint.h"
#include "formats/hf_config.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "formats/sparing_manifest.h"
#include "tensor/half.h"

namespace sparing {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxConfigBytes = 16 << 20, kMaxManifestBytes = 256 << 20;

struct StoredTensor {
  CodedWeight weight;
  std::shared_ptr<const MappedFile> file;
  std::unique_ptr<std::atomic<bool>> checked = std::make_unique<std::atomic<bool>>(false);
};

class SparingCheckpoint final : public Checkpoint {
 public:
  CheckpointFormat format() const override { return CheckpointFormat::sparing; }
  const ModelConfig& config() const override { return config_; }
  const fs::path& path() const override { return path_; }
  const std::vector<TensorEntry>& tensors() const override { return entries_; }
  const TokenizerSource& tokenizer() const override { return tokenizer_; }
  std::uint64_t total_bytes() const override { return total_bytes_; }
  const std::map<std::string, std::string>& carried() const override { return carried_; }
  std::string manifest() const override { return manifest_; }

  Result<CodedWeight> weight(const std::string& name, Arena*) const override {
    SPARING_TRY(const StoredTensor* stored, find(name));
    return stored->weight;
  }

  Result<std::vector<float>> vector(const std::string& name) const override {
    SPARING_TRY(const StoredTensor* stored, find(name));
    std::vector<float> values(static_cast<std::size_t>(stored->weight.cols));
    decode_rows(stored->weight, 0, 1, values.data());
    return values;
  }

  Result<std::vector<Bytes>> stored(const std::string& name) const override {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) return internal_error(where() + ": no tensor is named " + name);
    std::vector<Bytes> parts;
    const CodedWeight& weight = found->second.weight;
    if (weight.input.kind != TransformKind::identity) parts.push_back(weight.input.blob.bytes);
    for (const Term& term : weight.terms) parts.push_back(term.blob.bytes);
    return parts;
  }

  void forget(const std::string& name) const override {
    const auto found = tensors_.find(name);
    if (found == tensors_.end()) return;
    const CodedWeight& weight = found->second.weight;
    const Bytes all = found->second.file->bytes();
    const auto drop = [&](Bytes part) {
      // A part that had to be copied is not in the map.
      if (part.data() >= all.data() && part.data() < all.data() + all.size()) found->second.file->forget(part);
    };
    drop(weight.input.blob.bytes);
    for (const Term& term : weight.terms) drop(term.blob.bytes);
  }

  Status load(const fs::path& folder, const OpenOptions& options);

 private:
  std::string where() const { return "[open] " + path_.string(); }
  Result<const StoredTensor*> find(const std::string& name) const;
  Status load_config();
  Status load_tensors(Manifest manifest);
  Result<Blob> take(SafetensorsSet& set, const std::string& name, std::uint64_t bytes,
                    std::shared_ptr<const MappedFile>& file) const;

  fs::path path_;
  ModelConfig config_;
  std::string manifest_;
  std::map<std::string, StoredTensor> tensors_;
  std::vector<TensorEntry> entries_;
  TokenizerSource tokenizer_;
  std::uint64_t total_bytes_ = 0;
  std::map<std::string, std::string> carried_;
};

Result<const StoredTensor*> SparingCheckpoint::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) return internal_error(where() + ": no tensor is named " + name);
  const StoredTensor& stored = found->second;
  // Indices and scales are checked once, before anything computes with them.
  if (!stored.checked->load(std::memory_order_acquire)) {
    if (const Status status = validate(stored.weight, true); !status.ok()) {
      return input_error(where() + ": tensor " + name + ": " + status.error().message);
    }
    stored.checked->store(true, std::memory_order_release);
  }
  return &stored;
}

Status SparingCheckpoint::load_config() {
  const std::string label = "[open] " + (path_ / "config.json").string();
  SPARING_TRY(const std::string text, read_text_file(path_ / "config.json", kMaxConfigBytes));
  SPARING_TRY(const nlohmann::json json, parse_json(text, label));
  SPARING_TRY(config_, config_from_hf(json, label));
  const JsonFields quantization(JsonFields(json, label).at("quantization_config"), label + ": quantization_config");
  SPARING_TRY(const std::string method, quantization.string("quant_method"));
  if (method != "sparing") return quantization.wrong("quant_method", "\"sparing\"");
  return {};
}

Result<Blob> SparingCheckpoint::take(SafetensorsSet& set, const std::string& name, std::uint64_t bytes,
                                     std::shared_ptr<const MappedFile>& file) const {
  const auto found = set.tensors.find(name);
  if (found == set.tensors.end()) return input_error(where() + ": " + name + " is missing in the shards");
  const Bytes stored = found->second.bytes();
  if (found->second.tensor.dtype != DType::u8 || stored.size() != round_up(bytes, 64)) {
    return input_error(where() + ": " + name + " has " + std::to_string(stored.size()) +
                       " bytes where its coding needs " + std::to_string(round_up(bytes, 64)));
  }
  file = found->second.file;
  set.tensors.erase(found);
  const Bytes part = stored.first(bytes);
  if (reinterpret_cast<std::uintptr_t>(part.data()) % 64 == 0) return Blob::in(file, part);
  Buffer copy(bytes);
  if (bytes > 0) std::memcpy(copy.data(), part.data(), bytes);
  return Blob::of(std::move(copy));
}

Status SparingCheckpoint::load_tensors(Manifest manifest) {
  std::vector<fs::path> shards;
  for (const auto& [name, hash] : manifest.files) {
    if (name.starts_with("sparing-") && name.ends_with(".safetensors")) shards.push_back(path_ / name);
  }
  SPARING_TRY(SafetensorsSet set, open_safetensors(shards));
  std::map<std::string, ManifestTensor> described;
  for (ManifestTensor& tensor : manifest.tensors) described.emplace(tensor.shape.name, std::move(tensor));
  for (const TensorShape& shape : expected_tensors(config_)) {
    const auto found = described.find(shape.name);
    if (found == described.end())
      return input_error(where() + ": tensor " + shape.name + " is missing in sparing.json");
    ManifestTensor& tensor = found->second;
    if (tensor.shape.rows != shape.rows || tensor.shape.cols != shape.cols) {
      return input_error(where() + ": tensor " + shape.name + ": sparing.json and config.json give different shapes");
    }
    StoredTensor stored;
    CodedWeight& weight = stored.weight;
    weight.rows = coded_rows(shape);
    weight.cols = coded_cols(shape);
    weight.input = tensor.input;
    const auto label = [&](const Error& error) {
      return input_error(where() + ": tensor " + shape.name + ": " + error.message);
    };
    std::string coding;
    if (weight.input.kind != TransformKind::identity) {
      const auto bytes = blob_bytes(weight.input, weight.cols);
      if (!bytes.ok()) return label(bytes.error());
      SPARING_TRY(weight.input.blob, take(set, stored_input_name(shape.name), *bytes, stored.file));
    }
    for (std::size_t t = 0; t < tensor.terms.size(); ++t) {
      const auto bytes = blob_bytes(tensor.terms[t], weight.rows, weight.cols);
      if (!bytes.ok()) return label(bytes.error());
      SPARING_TRY(Blob blob, take(set, stored_name(shape.name, t), *bytes, stored.file));
      coding += (t > 0 ? " + " : "") + describe(tensor.terms[t]);
      weight.terms.push_back({std::move(tensor.terms[t]), std::move(blob)});
    }
    if (const Status status = validate(weight, false); !status.ok()) return label(status.error());
    entries_.push_back({shape, coding, stored_bytes(weight)});
    tensors_.emplace(shape.name, std::move(stored));
    described.erase(found);
  }
  if (!described.empty()) {
    return input_error(where() + ": tensor \"" + shown(described.begin()->first) +
                       "\" in sparing.json is not part of " + "the model");
  }
  if (!set.tensors.empty()) {
    return input_error(where() + ": \"" + shown(set.tensors.begin()->first) +
                       "\" in the shards is not in sparing.json");
  }
  return {};
}

Status SparingCheckpoint::load(const fs::path& folder, const OpenOptions& options) {
  path_ = folder;
  SPARING_TRY(manifest_, read_text_file(folder / "sparing.json", kMaxManifestBytes));
  SPARING_TRY(Manifest manifest, manifest_from_json(manifest_, "[open] " + (folder / "sparing.json").string()));
  SPARING_CHECK_OK(load_config());
  SPARING_CHECK_OK(load_tensors(std::move(manifest)));
  SPARING_TRY(carried_, read_carried(folder));
  if (options.tokenizer.empty()) {
    SPARING_TRY(tokenizer_, find_tokenizer(folder, config_.vocab));
  } else {
    SPARING_TRY(tokenizer_, read_tokenizer(options.tokenizer, config_.vocab));
  }
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (it->is_regular_file(ignored)) total_bytes_ += it->file_size(ignored);
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<const Checkpoint>> open_sparing_checkpoint(const fs::path& folder, const OpenOptions& options) {
  auto checkpoint = std::make_shared<SparingCheckpoint>();
  SPARING_CHECK_OK(checkpoint->load(folder, options));
  return std::shared_ptr<const Checkpoint>(std::move(checkpoint));
}

}  // namespace sparing
