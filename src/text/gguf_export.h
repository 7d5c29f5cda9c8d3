#pragma once
#include "text/tokenizer.h"

namespace sparing {

/// A tokenizer as GGUF's metadata holds it, for writing GGUF files. Refuses what GGUF has no name for: an unknown
/// pre-tokeniser, Unigram with a character map, merges that scores cannot express.
Result<GgufVocab> to_gguf_vocab(const Tokenizer& tokenizer);

}  // namespace sparing
