#pragma once
// What turns one word into ids: BPE or Unigram.

#include <memory>
#include <string_view>
#include <vector>

#include "text/tokenizer_spec.h"
#include "text/vocabulary.h"

namespace sparing {

class TokenModel {
 public:
  virtual ~TokenModel() = default;
  /// Appends the ids of a word (valid UTF-8; for byte-level models the word's bytes).
  virtual void encode(std::string_view word, std::vector<Token>& out) const = 0;
};

/// `spec` and `index` must outlive the model.
Result<std::unique_ptr<const TokenModel>> make_bpe(const TokenizerSpec& spec, const PieceIndex& index);
Result<std::unique_ptr<const TokenModel>> make_unigram(const TokenizerSpec& spec, const PieceIndex& index);

/// Ids of <0x00> ... <0xFF>, -1 where absent.
std::vector<Token> byte_fallback_ids(const TokenizerSpec& spec, const PieceIndex& index);

}  // namespace sparing
