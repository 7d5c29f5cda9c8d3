#pragma once
// The tokenizer as the model's files hold it; text/ makes it usable.

#include <cstdint>
#include <filesystem>
#include <string>
#include <variant>
#include <vector>

#include "tensor/buffer.h"

namespace sparing {

/// tokenizer.json with tokenizer_config.json beside it (may be absent).
struct HfTokenizerFiles {
  std::filesystem::path tokenizer_json, tokenizer_config;
};
/// tokenizer.model, SentencePiece's protobuf.
struct SentencePieceFile {
  std::filesystem::path model, tokenizer_config;
};
/// tokenizer.ggml.* of a GGUF.
struct GgufVocab {
  std::string model, pre;
  std::vector<std::string> tokens, merges;
  std::vector<float> scores;
  std::vector<std::int32_t> types;  ///< 1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte
  std::int32_t bos = -1, eos = -1, unknown = -1, pad = -1;
  int add_bos = -1, add_eos = -1, add_space_prefix = -1;  ///< -1: not said
};
/// llama2.c's tokenizer.bin.
struct Llama2cVocab {
  Blob data;
  std::int32_t vocab = 0;
};
/// Sparing's own compact form (text/compact.h), mapped.
struct CompactTokenizer {
  Blob data;
};
using TokenizerSource =
    std::variant<std::monostate, HfTokenizerFiles, SentencePieceFile, GgufVocab, Llama2cVocab, CompactTokenizer>;

}  // namespace sparing
