#pragma once
#include <string>

#include "text/tokenizer_spec.h"

namespace sparing {

/// tokenizer.json that Hugging Face's tokenizers loads and that gives the same ids. Refuses what that format cannot
/// say (a byte-level vocabulary with a piece outside the alphabet in the model).
Result<std::string> write_tokenizer_json(const TokenizerSpec& spec);

}  // namespace sparing
