#pragma once
// Small text files that travel with a model: generation_config.json, chat template, licence, model card.

#include <filesystem>
#include <map>
#include <string>

#include "formats/gguf.h"
#include "formats/tokenizer_source.h"

namespace sparing {

/// No carried file is larger: a longer licence or model card is left out with a warning, a longer template refused.
inline constexpr std::uint64_t kMaxCarriedBytes = 1 << 20;

using CarriedFiles = std::map<std::string, std::string>;

/// From a Hugging Face or Sparing directory. The chat template comes from chat_template.jinja or tokenizer_config.json.
Result<CarriedFiles> read_carried(const std::filesystem::path& folder);
/// chat_template.jinja and a small model card from GGUF metadata.
Result<CarriedFiles> carried_from_gguf(const GgufHeader& header, const std::string& where);

/// tokenizer.json, tokenizer.model, tokenizer.bin or tokenizer.sparing in a folder; std::monostate if there is none.
Result<TokenizerSource> find_tokenizer(const std::filesystem::path& folder, std::int32_t vocab);
/// The file (or folder) that --tokenizer names, told by its content and extension.
Result<TokenizerSource> read_tokenizer(const std::filesystem::path& path, std::int32_t vocab);
/// Bytes of the files that a source stands for.
std::uint64_t tokenizer_bytes(const TokenizerSource& source);

}  // namespace sparing
