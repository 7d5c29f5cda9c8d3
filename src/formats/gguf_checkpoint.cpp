#include "formats/carried.h"
#include "formats/file_checkpoint.h"
#include "formats/gguf.h"
#include "formats/gguf_config.h"
#include "formats/json.h"

namespace sparing {
namespace {

bool is_rope_site(const std::string& name) {
  return name.ends_with(".attn.q") || name.ends_with(".attn.k") || name.ends_with(".attn.q.bias") ||
         name.ends_with(".attn.k.bias");
}

}  // namespace

Result<std::shared_ptr<const Checkpoint>> open_gguf_checkpoint(const std::filesystem::path& path,
                                                               const OpenOptions& options) {
  const std::string where = "[open] " + path.string();
  SPARING_TRY(auto file, MappedFile::open(path));
  SPARING_TRY(const GgufHeader header, parse_gguf(file->bytes(), where));
  CheckpointParts parts;
  SPARING_TRY(parts.config, config_from_gguf(header, where));
  parts.format = CheckpointFormat::gguf;
  parts.path = path;
  parts.total_bytes = file->bytes().size();
  SPARING_TRY(parts.carried, carried_from_gguf(header, where));

  std::map<std::string, const GgufTensor*> by_name;
  for (const GgufTensor& tensor : header.tensors) by_name.emplace(tensor.name, &tensor);
  by_name.erase("rope_freqs.weight");  // part of the configuration
  const bool interleaved = gguf_interleaves_rope(parts.config.architecture);
  for (const TensorShape& shape : expected_tensors(parts.config)) {
    const std::string name = gguf_tensor_name(shape.name);
    const auto found = by_name.find(name);
    if (found == by_name.end()) {
      return input_error(where + ": tensor " + name + " is missing: the model is incomplete");
    }
    const GgufTensor& tensor = *found->second;
    SourceTensor source{name, tensor.type, {}, file, tensor.bytes, interleaved && is_rope_site(shape.name), {}};
    if (tensor.shape.size() > 2 || (shape.is_vector() && tensor.rows() != 1)) {
      return input_error(where + ": tensor " + name + " has " + std::to_string(tensor.shape.size()) +
                         " dimensions where the configuration needs " + (shape.is_vector() ? "1" : "2"));
    }
    source.shape =
        shape.is_vector() ? TensorShape{"", tensor.cols(), 0} : TensorShape{"", tensor.rows(), tensor.cols()};
    parts.tensors.emplace(shape.name, std::move(source));
    by_name.erase(found);
  }
  if (!by_name.empty()) {
    return input_error(where + ": tensor \"" + shown(by_name.begin()->first) + "\" is not part of a " +
                       parts.config.architecture + " model as Sparing knows it");
  }
  if (!options.tokenizer.empty()) {
    SPARING_TRY(parts.tokenizer, read_tokenizer(options.tokenizer, parts.config.vocab));
    parts.total_bytes += tokenizer_bytes(parts.tokenizer);
  } else if (header.find("tokenizer.ggml.tokens") != nullptr) {
    SPARING_TRY(GgufVocab vocab, read_gguf_vocab(header, where));
    parts.tokenizer = std::move(vocab);
  }
  return FileCheckpoint::make(std::move(parts));
}

}  // namespace sparing
