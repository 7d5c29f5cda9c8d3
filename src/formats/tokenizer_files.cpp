#include <cstring>

#include "formats/carried.h"
#include "formats/gguf_config.h"
#include "formats/json.h"

namespace sparing {
namespace {

namespace fs = std::filesystem;

bool is_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

fs::path beside(const fs::path& file, const char* name) {
  const fs::path other = file.parent_path() / name;
  return is_file(other) ? other : fs::path();
}

std::uint64_t size_of_file(const fs::path& path) {
  std::error_code error;
  const auto size = path.empty() ? 0 : fs::file_size(path, error);
  return error ? 0 : size;
}

}  // namespace

Result<TokenizerSource> read_tokenizer(const fs::path& path, std::int32_t vocab) {
  std::error_code error;
  if (fs::is_directory(path, error)) {
    SPARING_TRY(TokenizerSource found, find_tokenizer(path, vocab));
    if (!std::holds_alternative<std::monostate>(found)) return found;
    return input_error("[open] " + path.string() + ": no tokenizer.json, tokenizer.model, tokenizer.bin or " +
                       "tokenizer.sparing in this folder");
  }
  SPARING_TRY(auto file, MappedFile::open(path));
  const Bytes bytes = file->bytes();
  const std::string extension = path.extension().string();
  if (bytes.size() >= 4 && std::memcmp(bytes.data(), "GGUF", 4) == 0) {
    SPARING_TRY(const GgufHeader header, parse_gguf(bytes, "[open] " + path.string()));
    SPARING_TRY(GgufVocab held, read_gguf_vocab(header, "[open] " + path.string()));
    return TokenizerSource(std::move(held));
  }
  if (extension == ".json") return TokenizerSource(HfTokenizerFiles{path, beside(path, "tokenizer_config.json")});
  if (extension == ".model") return TokenizerSource(SentencePieceFile{path, beside(path, "tokenizer_config.json")});
  if (extension == ".bin") return TokenizerSource(Llama2cVocab{Blob::in(file, bytes), vocab});
  if (extension == ".sparing") return TokenizerSource(CompactTokenizer{Blob::in(file, bytes)});
  return input_error("[open] " + path.string() +
                     ": not a tokenizer: tokenizer.json, .model, .bin, .sparing or a GGUF " + "are");
}

Result<TokenizerSource> find_tokenizer(const fs::path& folder, std::int32_t vocab) {
  for (const char* name : {"tokenizer.sparing", "tokenizer.json", "tokenizer.model", "tokenizer.bin"}) {
    if (is_file(folder / name)) return read_tokenizer(folder / name, vocab);
  }
  return TokenizerSource();
}

std::uint64_t tokenizer_bytes(const TokenizerSource& source) {
  if (const auto* hf = std::get_if<HfTokenizerFiles>(&source)) {
    return size_of_file(hf->tokenizer_json) + size_of_file(hf->tokenizer_config);
  }
  if (const auto* sp = std::get_if<SentencePieceFile>(&source)) {
    return size_of_file(sp->model) + size_of_file(sp->tokenizer_config);
  }
  if (const auto* bin = std::get_if<Llama2cVocab>(&source)) return bin->data.bytes.size();
  if (const auto* compact = std::get_if<CompactTokenizer>(&source)) return compact->data.bytes.size();
  return 0;  // a GGUF's vocabulary is part of the model's own file
}

}  // namespace sparing
