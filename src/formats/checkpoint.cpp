#include "formats/checkpoint.h"

#include <array>
#include <cstdlib>
#include <cstring>

#include "base/atomic_file.h"
#include "base/sha256.h"
#include "formats/file_checkpoint.h"
#include "formats/hf_config.h"
#include "formats/json.h"

namespace sparing {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 5> kPickleExtensions = {".pt", ".pth", ".ckpt", ".pkl", ".pickle"};

bool is_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

Error pickle_error(const fs::path& path) {
  return input_error("[open] " + path.string() +
                     ": a pickle can run code when it is read, so it is refused: save the model as safetensors "
                     "(save_pretrained(..., safe_serialization=True))");
}

/// Pickles and torch's zip files by their first bytes, whatever their name.
bool looks_like_pickle(Bytes file) {
  if (file.size() < 4) return false;
  const auto byte = [&](std::size_t i) { return std::to_integer<unsigned>(file[i]); };
  return (byte(0) == 'P' && byte(1) == 'K' && byte(2) == 3 && byte(3) == 4) ||
         (byte(0) == 0x80 && byte(1) >= 2 && byte(1) <= 5 && byte(3) != 0);
}

Result<std::shared_ptr<const Checkpoint>> open_file(const fs::path& path, const OpenOptions& options) {
  const std::string extension = path.extension().string();
  for (const auto pickle : kPickleExtensions) {
    if (extension == pickle) return pickle_error(path);
  }
  if (path.filename() == "model.safetensors.index.json" || path.filename() == "config.json" ||
      path.filename() == "sparing.json") {
    return open_checkpoint(path.has_parent_path() ? path.parent_path().string() : ".", options);
  }
  if (extension == ".safetensors") return open_hf_checkpoint(path, options);
  SPARING_TRY(const auto file, MappedFile::open(path));
  const Bytes bytes = file->bytes();
  if (bytes.size() >= 4 && std::memcmp(bytes.data(), "GGUF", 4) == 0) return open_gguf_checkpoint(path, options);
  if (extension == ".gguf") return input_error("[open] " + path.string() + ": not a GGUF file, whatever its name says");
  if (looks_like_pickle(bytes)) return pickle_error(path);
  if (extension == ".bin") return open_llama2c_checkpoint(path, options);
  return input_error("[open] " + path.string() +
                     ": not a model that Sparing knows: a GGUF, a safetensors file or folder, a Sparing folder or a "
                     "llama2.c .bin is");
}

Result<std::shared_ptr<const Checkpoint>> open_folder(const fs::path& path, const OpenOptions& options) {
  if (is_file(path / "sparing.json")) return open_sparing_checkpoint(path, options);
  std::vector<fs::path> safetensors, ggufs, pickles;
  std::error_code error;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    const std::string extension = it->path().extension().string(), name = it->path().filename().string();
    if (extension == ".safetensors" || name == "model.safetensors.index.json") safetensors.push_back(it->path());
    if (extension == ".gguf") ggufs.push_back(it->path());
    if (name.starts_with("pytorch_model") || extension == ".pth" || extension == ".pt") pickles.push_back(it->path());
  }
  if (error) return input_error("[open] " + path.string() + ": " + error.message());
  if (!safetensors.empty()) return open_hf_checkpoint(path, options);
  if (ggufs.size() == 1) return open_gguf_checkpoint(ggufs.front(), options);
  if (ggufs.size() > 1) {
    return input_error("[open] " + path.string() + ": " + std::to_string(ggufs.size()) +
                       " GGUF files: name the one to read");
  }
  if (!pickles.empty()) return pickle_error(pickles.front());
  return input_error("[open] " + path.string() + ": no safetensors, GGUF or sparing.json in this folder");
}

fs::path cache_root() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return fs::path(value == nullptr ? "" : value);
  };
  if (const fs::path hub = variable("HF_HUB_CACHE"); !hub.empty()) return hub;
  if (const fs::path home = variable("HF_HOME"); !home.empty()) return home / "hub";
  if (const fs::path cache = variable("XDG_CACHE_HOME"); !cache.empty()) return cache / "huggingface" / "hub";
  return variable("HOME") / ".cache" / "huggingface" / "hub";
}

bool is_plain_name(std::string_view text) {
  if (text.empty() || text.front() == '.') return false;
  return text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
         std::string_view::npos;
}

/// snapshots/<commit> of "org/model" or "org/model@revision"; empty if the name is not of that form.
Result<fs::path> find_in_cache(const std::string& name) {
  const auto slash = name.find('/'), at = name.find('@');
  if (slash == std::string::npos) return fs::path();
  const std::string organisation = name.substr(0, slash),
                    model = name.substr(slash + 1, at == std::string::npos ? at : at - slash - 1),
                    revision = at == std::string::npos ? "main" : name.substr(at + 1);
  if (!is_plain_name(organisation) || !is_plain_name(model) || !is_plain_name(revision)) return fs::path();
  const fs::path repository = cache_root() / ("models--" + organisation + "--" + model);
  std::string commit = revision;
  if (is_file(repository / "refs" / revision)) {
    SPARING_TRY(commit, read_text_file(repository / "refs" / revision, 4096));
    while (!commit.empty() && (commit.back() == '\n' || commit.back() == ' ')) commit.pop_back();
  }
  std::error_code error;
  const fs::path snapshot = repository / "snapshots" / commit;
  if (is_plain_name(commit) && fs::is_directory(snapshot, error)) return snapshot;
  return input_error("[open] " + shown(name) + ": no such file, and not in the local Hugging Face cache (" +
                     repository.string() + "): download it first or give a path");
}

}  // namespace

std::string_view name_of(CheckpointFormat format) {
  switch (format) {
    case CheckpointFormat::huggingface:
      return "huggingface";
    case CheckpointFormat::gguf:
      return "gguf";
    case CheckpointFormat::llama2c:
      return "llama2c";
    case CheckpointFormat::sparing:
      return "sparing";
  }
  return "?";
}

std::optional<std::string> Checkpoint::chat_template() const {
  const auto found = carried().find("chat_template.jinja");
  if (found == carried().end()) return std::nullopt;
  return found->second;
}

Result<std::shared_ptr<const Checkpoint>> open_checkpoint(const std::string& path_or_name, const OpenOptions& options) {
  if (path_or_name.empty()) return usage_error("[open] no model given: name a file, a folder or org/model");
  if (path_or_name.find('\0') != std::string::npos)
    return usage_error("[open] " + shown(path_or_name) + ": not a path");
  const fs::path path(path_or_name);
  std::error_code error;
  if (fs::is_directory(path, error)) return open_folder(path, options);
  if (fs::exists(path, error)) return open_file(path, options);
  SPARING_TRY(const fs::path cached, find_in_cache(path_or_name));
  if (!cached.empty()) return open_folder(cached, options);
  return input_error("[open] " + shown(path_or_name) + ": no such file or folder");
}

Result<std::string> checkpoint_hash(const Checkpoint& checkpoint) {
  Sha256 hash;
  const auto text = [&](const std::string& line) { hash.update(std::as_bytes(std::span(line))); };
  for (const TensorEntry& entry : checkpoint.tensors()) {
    const TensorShape& shape = entry.shape;
    text(shape.name + " " + std::to_string(shape.rows) + " " + std::to_string(shape.cols) + " " + entry.coding + "\n");
    SPARING_TRY(const auto parts, checkpoint.stored(shape.name));
    for (const Bytes part : parts) hash.update(part);
    checkpoint.forget(shape.name);
  }
  ModelConfig config = checkpoint.config();
  config.name.clear();
  text(dump_json(config_to_hf(config)));
  return hash.finish();
}

}  // namespace sparing
