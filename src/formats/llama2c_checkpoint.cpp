#include <array>
#include <cstring>

#include "base/checked.h"
#include "formats/carried.h"
#include "formats/file_checkpoint.h"
#include "formats/gguf_config.h"

namespace sparing {
namespace {

constexpr std::uint32_t kMagic = 0x616b3432;
constexpr std::uint64_t kVersion1Header = 256, kLegacyHeader = 28;

struct Header {
  bool legacy = true, shared_head = true;
  std::int32_t hidden = 0, ffn = 0, layers = 0, heads = 0, kv_heads = 0, vocab = 0, context = 0;
  std::uint64_t size = 0;
};

Result<Header> read_header(Bytes file, const std::string& where) {
  std::array<std::int32_t, 9> words{};
  const auto too_short = [&] { return input_error(where + ": too short for a llama2.c model"); };
  if (file.size() < kLegacyHeader) return too_short();
  std::memcpy(words.data(), file.data(), std::min<std::size_t>(sizeof(words), file.size()));
  Header header;
  const std::int32_t* fields = words.data();
  if (static_cast<std::uint32_t>(words[0]) == kMagic) {
    if (words[1] != 1) {
      return input_error(where + ": llama2.c version " + std::to_string(words[1]) + " is not read: legacy and 1 are");
    }
    if (file.size() < kVersion1Header) return too_short();
    header.legacy = false;
    header.shared_head = file[36] != std::byte{0};
    header.size = kVersion1Header;
    fields = words.data() + 2;
  } else {
    header.size = kLegacyHeader;
  }
  header.hidden = fields[0];
  header.ffn = fields[1];
  header.layers = fields[2];
  header.heads = fields[3];
  header.kv_heads = fields[4];
  header.vocab = fields[5];
  header.context = fields[6];
  if (header.legacy && header.vocab < 0 && header.vocab != INT32_MIN) {
    // The legacy format says "own head" by a negative vocabulary.
    header.vocab = -header.vocab;
    header.shared_head = false;
  }
  return header;
}

Result<ModelConfig> config_of(const Header& header, const std::string& where) {
  ModelConfig config;
  config.architecture = "llama";
  config.hidden = header.hidden;
  config.vocab = header.vocab;
  config.context = header.context;
  config.head_dim = header.heads > 0 ? header.hidden / header.heads : 0;
  config.rope.dimension = config.head_dim;
  config.tied_head = header.shared_head;
  config.bos = 1;
  config.eos = {1, 2};  // its stories are delimited by BOS
  if (header.layers >= 1 && header.layers <= 4096) {
    config.layers.assign(static_cast<std::size_t>(header.layers), {header.heads, header.kv_heads, header.ffn});
  }
  Status status = validate(config);
  if (status.ok() && header.hidden % header.heads != 0) status = input_error("[config] heads do not divide the width");
  if (!status.ok()) {
    return input_error(where +
                       ": not a llama2.c model: " + status.error().message.substr(std::string("[config] ").size()));
  }
  return config;
}

/// Hands out consecutive tensors of f32.
class Layout {
 public:
  Layout(std::shared_ptr<const MappedFile> file, std::uint64_t start, CheckpointParts& parts)
      : file_(std::move(file)), at_(start), parts_(parts) {}

  /// Sizes are bounded by validate(config); past the end of the file only the position counts.
  void take(const std::string& name, std::int64_t rows, std::int64_t cols, bool interleaved = false) {
    const std::uint64_t bytes = 4 * static_cast<std::uint64_t>(rows) * static_cast<std::uint64_t>(cols > 0 ? cols : 1);
    const Bytes all = file_->bytes();
    if (at_ + bytes <= all.size()) {
      parts_.tensors.emplace(
          name, SourceTensor{name, GgmlType::f32, {"", rows, cols}, file_, all.subspan(at_, bytes), interleaved, {}});
    }
    at_ += bytes;
  }
  void skip(std::uint64_t bytes) { at_ += bytes; }
  std::uint64_t at() const { return at_; }

 private:
  std::shared_ptr<const MappedFile> file_;
  std::uint64_t at_;
  CheckpointParts& parts_;
};

void lay_out(const Header& header, const ModelConfig& c, Layout& layout) {
  const std::int64_t hidden = c.hidden, q = c.layers[0].heads * static_cast<std::int64_t>(c.head_dim),
                     kv = c.layers[0].kv_heads * static_cast<std::int64_t>(c.head_dim), ffn = c.layers[0].ffn;
  const auto each = [&](const char* name, std::int64_t rows, std::int64_t cols, bool interleaved = false) {
    for (std::size_t i = 0; i < c.layers.size(); ++i) {
      layout.take("layers." + std::to_string(i) + "." + name, rows, cols, interleaved);
    }
  };
  if (header.legacy) {
    layout.take("embed", c.vocab, hidden);
    each("attn_norm", hidden, 0);
  } else {
    each("attn_norm", hidden, 0);
    each("mlp_norm", hidden, 0);
    layout.take("norm", hidden, 0);
    layout.take("embed", c.vocab, hidden);
  }
  each("attn.q", q, hidden, true);
  each("attn.k", kv, hidden, true);
  each("attn.v", kv, hidden);
  each("attn.o", hidden, q);
  if (header.legacy) each("mlp_norm", hidden, 0);
  each("mlp.gate", ffn, hidden);
  each("mlp.down", hidden, ffn);
  each("mlp.up", ffn, hidden);
  if (header.legacy) {
    layout.take("norm", hidden, 0);
    // Tables of cosines and sines, which follow from the configuration.
    layout.skip(4 * static_cast<std::uint64_t>(c.context) * static_cast<std::uint64_t>(c.head_dim));
  }
  if (!header.shared_head) layout.take("head", c.vocab, hidden);
}

}  // namespace

Result<std::shared_ptr<const Checkpoint>> open_llama2c_checkpoint(const std::filesystem::path& path,
                                                                  const OpenOptions& options) {
  const std::string where = "[open] " + path.string();
  SPARING_TRY(auto file, MappedFile::open(path));
  SPARING_TRY(const Header header, read_header(file->bytes(), where));
  CheckpointParts parts;
  SPARING_TRY(parts.config, config_of(header, where));
  parts.config.name = path.stem().string();
  parts.format = CheckpointFormat::llama2c;
  parts.path = path;
  parts.total_bytes = file->bytes().size();
  Layout layout(file, header.size, parts);
  lay_out(header, parts.config, layout);
  if (layout.at() != file->bytes().size()) {
    return input_error(where + ": a llama2.c model of this shape has " + std::to_string(layout.at()) +
                       " bytes, the file has " + std::to_string(file->bytes().size()));
  }
  std::error_code error;
  std::filesystem::path tokenizer = options.tokenizer;
  if (tokenizer.empty() && std::filesystem::is_regular_file(path.parent_path() / "tokenizer.bin", error)) {
    tokenizer = path.parent_path() / "tokenizer.bin";
  }
  if (!tokenizer.empty()) {
    SPARING_TRY(parts.tokenizer, read_tokenizer(tokenizer, parts.config.vocab));
    parts.total_bytes += tokenizer_bytes(parts.tokenizer);
  }
  return FileCheckpoint::make(std::move(parts));
}

}  // namespace sparing
