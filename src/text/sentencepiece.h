#pragma once
// tokenizer.model, run by the SentencePiece library itself.

#include <string>
#include <string_view>

#include "text/tokenizer_spec.h"

namespace sparing {

/// `model`: the file's protobuf. `tokenizer_config`: tokenizer_config.json's text or empty; it says whether BOS and EOS
/// are added (by default: BOS if the model has one).
Result<std::shared_ptr<const Tokenizer>> load_sentencepiece(const std::string& model,
                                                            std::string_view tokenizer_config);
/// From the compact form's payload: one byte of flags (1: adds BOS, 2: adds EOS), then the protobuf.
Result<std::shared_ptr<const Tokenizer>> load_sentencepiece_payload(std::string_view payload);

}  // namespace sparing
