#pragma once
// Text to token ids and back, as the model's own tokenizer does it.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/tokenizer_source.h"

namespace sparing {

using Token = std::int32_t;

class Tokenizer {
 public:
  static Result<std::shared_ptr<const Tokenizer>> load(const TokenizerSource& source);
  virtual ~Tokenizer() = default;

  /// `add_special`: what the tokenizer's post-processor adds (BOS, ...). `parse_special`: special tokens written in the
  /// text become their ids (chat templates want that; user text does not). Invalid UTF-8 is read as if decoded with
  /// U+FFFD replacement.
  virtual std::vector<Token> encode(std::string_view text, bool add_special, bool parse_special) const = 0;
  /// Bytes of the ids; special tokens are left out if `skip_special`. Out-of-range ids decode to nothing.
  virtual std::string decode(std::span<const Token> ids, bool skip_special) const = 0;

  virtual std::int32_t vocab_size() const = 0;  ///< one past the largest id
  virtual Token bos() const = 0;                ///< -1: none
  virtual Token eos() const = 0;
  virtual bool adds_bos() const = 0;                     ///< whether encode(add_special) begins with BOS
  virtual std::string token_text(Token id) const = 0;    ///< raw piece, for tables; empty if out of range
  virtual Token find(std::string_view piece) const = 0;  ///< id of an exact (added or vocabulary) piece, or -1
  /// The compact, mapped form (text/compact.h) that Sparing directories carry.
  virtual std::string to_compact() const = 0;
  /// tokenizer.json that Hugging Face's tokenizers loads, for export.
  virtual Result<std::string> to_tokenizer_json() const = 0;
};

/// Feeds ids one at a time and returns text only at character boundaries (streaming output).
class StreamDecoder {
 public:
  StreamDecoder(std::shared_ptr<const Tokenizer> tokenizer, bool skip_special);
  std::string feed(Token id);
  std::string finish();

 private:
  std::shared_ptr<const Tokenizer> tokenizer_;
  bool skip_special_;
  std::vector<Token> context_;
  std::string pending_;
};

}  // namespace sparing
