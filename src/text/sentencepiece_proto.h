#pragma once
// The few settings of a SentencePiece model that its library does not tell.

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace sparing {

struct SentencePieceSettings {
  static constexpr int kUnigram = 1, kBpe = 2;
  int model = kUnigram;
  bool has_character_map = false;
  bool add_dummy_prefix = true, remove_extra_whitespaces = true, escape_whitespaces = true;
  bool whitespace_as_suffix = false;
  std::vector<std::int32_t> types;  ///< of each piece; the numbers are GGUF's too
};
Result<SentencePieceSettings> read_sentencepiece_settings(std::string_view proto);

}  // namespace sparing
