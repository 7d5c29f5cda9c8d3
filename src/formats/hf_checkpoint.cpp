#include <algorithm>

#include "base/atomic_file.h"
#include "formats/carried.h"
#include "formats/file_checkpoint.h"
#include "formats/hf_config.h"
#include "formats/json.h"
#include "formats/safetensors.h"

namespace sparing {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxConfigBytes = 16 << 20;

bool is_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

Result<std::vector<fs::path>> weight_files(const fs::path& path, std::uint64_t& bytes) {
  if (is_file(path)) return std::vector<fs::path>{path};
  const fs::path index = path / "model.safetensors.index.json";
  if (is_file(index)) {
    std::error_code error;
    bytes += fs::file_size(index, error);
    return read_safetensors_index(index);
  }
  if (is_file(path / "model.safetensors")) return std::vector<fs::path>{path / "model.safetensors"};
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() == ".safetensors") found.push_back(it->path());
  }
  if (found.size() == 1) return found;
  return input_error("[open] " + path.string() + ": " + std::to_string(found.size()) +
                     " safetensors files and no model.safetensors.index.json: name the file to read");
}

std::optional<GgmlType> dense_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return GgmlType::f32;
    case DType::f16:
      return GgmlType::f16;
    case DType::bf16:
      return GgmlType::bf16;
    default:
      return std::nullopt;
  }
}

TensorShape shape_of(const SafeTensor& tensor) {
  if (tensor.shape.size() == 1) return {"", tensor.shape[0], 0};
  if (tensor.shape.size() == 2) return {"", tensor.shape[0], tensor.shape[1]};
  return {"", -1, static_cast<std::int64_t>(tensor.shape.size())};
}

/// Buffers that older transformers saved along with the weights; both follow from the configuration.
bool is_redundant(const std::string& name, const ModelConfig& config) {
  return name.ends_with(".rotary_emb.inv_freq") || (config.tied_head && name == "lm_head.weight");
}

bool holds_module(const SafetensorsSet& set, const std::string& module) {
  return set.tensors.contains(module + ".weight") || set.tensors.contains(module + ".qweight") ||
         set.tensors.contains(module + ".weight_packed");
}

/// Toolkits that pack weights give modules without a bias one of zeros.
bool is_zero_bias(const std::string& name, const SafetensorsSet::Item& item) {
  const Bytes bytes = item.bytes();
  return name.ends_with(".bias") &&
         std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{}; });
}

Status fill_tensors(SafetensorsSet set, const std::optional<HfQuantization>& scheme, const std::string& where,
                    CheckpointParts& parts) {
  for (const TensorShape& shape : expected_tensors(parts.config)) {
    const std::string name = hf_tensor_name(shape.name);
    if (scheme && !shape.is_vector()) {
      const std::string module = name.substr(0, name.size() - std::string(".weight").size());
      SPARING_TRY(auto packed, take_packed(set, module, *scheme, shape.rows, shape.cols, where));
      if (packed) {
        SourceTensor source;
        source.file_name = packed->codes.tensor.name;
        source.shape = {"", shape.rows, shape.cols};
        source.packed = std::make_shared<const PackedLinear>(*std::move(packed));
        parts.tensors.emplace(shape.name, std::move(source));
        continue;
      }
    }
    const auto found = set.tensors.find(name);
    if (found == set.tensors.end()) {
      return input_error(where + ": tensor " + name + " is missing: the model is incomplete, download it again");
    }
    const auto& item = found->second;
    const auto type = dense_type(item.tensor.dtype);
    if (!type) {
      return input_error(where + ": tensor " + name + " has dtype " + std::string(name_of(item.tensor.dtype)) +
                         ", which is not supported for weights: F32, F16 and BF16 are");
    }
    parts.tensors.emplace(shape.name,
                          SourceTensor{name, *type, shape_of(item.tensor), item.file, item.bytes(), false, {}});
    set.tensors.erase(found);
  }
  for (const auto& [name, item] : set.tensors) {
    if (is_redundant(name, parts.config) || (scheme && is_zero_bias(name, item))) continue;
    return input_error(where + ": tensor \"" + shown(name) + "\" is not part of a " + parts.config.architecture +
                       " model as config.json describes it");
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<const Checkpoint>> open_hf_checkpoint(const fs::path& path, const OpenOptions& options) {
  const std::string where = "[open] " + path.string();
  const fs::path folder = is_file(path) ? path.parent_path() : path, config_path = folder / "config.json";
  if (!is_file(config_path)) return input_error(where + ": config.json is missing beside the weights");
  CheckpointParts parts;
  parts.format = CheckpointFormat::huggingface;
  parts.path = path;
  SPARING_TRY(const std::string text, read_text_file(config_path, kMaxConfigBytes));
  SPARING_TRY(const nlohmann::json json, parse_json(text, "[open] " + config_path.string()));
  SPARING_TRY(parts.config, config_from_hf(json, "[open] " + config_path.string()));
  SPARING_TRY(const auto scheme, read_hf_quantization(json, "[open] " + config_path.string()));
  if (parts.config.name.empty()) {
    parts.config.name = fs::absolute(folder).lexically_normal().filename().string();
  }
  SPARING_TRY(parts.carried, read_carried(folder));
  if (const auto found = parts.carried.find("generation_config.json"); found != parts.carried.end()) {
    const std::string label = "[open] " + (folder / "generation_config.json").string();
    SPARING_TRY(const nlohmann::json generation, parse_json(found->second, label));
    SPARING_CHECK_OK(merge_generation_config(generation, label, parts.config));
  }

  parts.total_bytes = text.size();
  SPARING_TRY(const auto files, weight_files(path, parts.total_bytes));
  SPARING_TRY(SafetensorsSet set, open_safetensors(files));
  for (const auto& file : set.files) parts.total_bytes += file->bytes().size();
  // Class defaults differ between transformers' versions: the weights know whether there is a head.
  if (!says_tied(json)) parts.config.tied_head = !holds_module(set, "lm_head");
  SPARING_CHECK_OK(fill_tensors(std::move(set), scheme, where, parts));

  if (!options.tokenizer.empty()) {
    SPARING_TRY(parts.tokenizer, read_tokenizer(options.tokenizer, parts.config.vocab));
  } else {
    SPARING_TRY(parts.tokenizer, find_tokenizer(folder, parts.config.vocab));
  }
  parts.total_bytes += tokenizer_bytes(parts.tokenizer);
  for (const char* name : {"generation_config.json", "chat_template.jinja"}) {
    std::error_code error;
    if (is_file(folder / name)) parts.total_bytes += fs::file_size(folder / name, error);
  }
  return FileCheckpoint::make(std::move(parts));
}

}  // namespace sparing
