#pragma once
// A tokenizer as plain data: what every source is read into, and what every output is written from. The steps are
// those of Hugging Face's tokenizer.json, of which GGUF's and llama2.c's vocabularies are special cases.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/tokenizer.h"

namespace sparing {

/// Many short strings in one block, by id.
class PieceList {
 public:
  std::size_t size() const { return where_.size(); }
  std::string_view operator[](std::size_t i) const {
    return std::string_view(bytes_).substr(where_[i].begin, where_[i].length);
  }
  void resize(std::size_t n) { where_.resize(n); }
  void set(std::size_t i, std::string_view piece) {
    where_[i] = {static_cast<std::uint32_t>(bytes_.size()), static_cast<std::uint32_t>(piece.size())};
    bytes_ += piece;
  }
  /// The joined text of two other pieces.
  void set_joined(std::size_t i, std::size_t left, std::size_t right) {
    const Where l = where_[left], r = where_[right];
    where_[i] = {static_cast<std::uint32_t>(bytes_.size()), l.length + r.length};
    bytes_.append(bytes_, l.begin, l.length);
    bytes_.append(bytes_, r.begin, r.length);
  }
  void push_back(std::string_view piece) {
    where_.emplace_back();
    set(where_.size() - 1, piece);
  }
  void reserve(std::size_t pieces, std::size_t bytes) {
    where_.reserve(pieces);
    bytes_.reserve(bytes);
  }
  std::size_t total_bytes() const { return bytes_.size(); }

 private:
  struct Where {
    std::uint32_t begin = 0, length = 0;
  };
  std::string bytes_;
  std::vector<Where> where_;
};

struct AddedToken {
  Token id = -1;
  std::string content;
  bool special = false, single_word = false, lstrip = false, rstrip = false, normalized = false;
};

/// A literal or a regular expression to look for.
struct TextPattern {
  bool regex = false;
  std::string text;
};

struct NormalizerStep {
  enum class Kind : std::uint8_t { nfc, nfd, strip, prepend, replace };
  Kind kind = Kind::nfc;
  TextPattern pattern;               ///< replace
  std::string text;                  ///< prepend, replace
  bool left = false, right = false;  ///< strip
};

struct PreTokenizerStep {
  enum class Kind : std::uint8_t { byte_level, split, digits, metaspace, whitespace_split, whitespace };
  enum class Behavior : std::uint8_t { removed, isolated, merged_with_previous, merged_with_next, contiguous };
  enum class Prepend : std::uint8_t { always, never, first };
  Kind kind = Kind::byte_level;
  TextPattern pattern;                     ///< split
  Behavior behavior = Behavior::isolated;  ///< split
  bool invert = false;                     ///< split
  bool add_prefix_space = false;           ///< byte_level
  bool use_regex = true;                   ///< byte_level: GPT-2's words
  bool individual = true;                  ///< digits: each alone
  std::string replacement;                 ///< metaspace
  Prepend prepend = Prepend::always;       ///< metaspace
  bool split = true;                       ///< metaspace: words begin at the replacement character
};

struct DecoderStep {
  enum class Kind : std::uint8_t { byte_level, byte_fallback, fuse, replace, strip, metaspace };
  Kind kind = Kind::byte_level;
  TextPattern pattern;                                                    ///< replace
  std::string text;                                                       ///< replace: with; strip, metaspace: what
  std::uint32_t start = 0, stop = 0;                                      ///< strip: at most so many
  PreTokenizerStep::Prepend prepend = PreTokenizerStep::Prepend::always;  ///< metaspace
};

struct Merge {
  Token left, right, result;
};

struct TokenizerSpec {
  enum class Model : std::uint8_t {
    bpe,           ///< merges by rank
    bpe_by_score,  ///< SentencePiece's: joins whatever makes the piece of highest score
    unigram,
  };
  Model model = Model::bpe;
  /// By id; empty where an id has no piece. If byte_level, bytes; else text (UTF-8).
  PieceList pieces;
  bool byte_level = false;
  std::vector<bool> literal;   ///< with byte_level: this piece is text outside the GPT-2 alphabet
  std::vector<bool> in_model;  ///< the piece belongs to the model's own vocabulary, not only to the added tokens
  std::vector<float> scores;   ///< bpe_by_score
  std::vector<double> unigram_scores;  ///< unigram: logarithms of probabilities
  std::vector<Merge> merges;           ///< bpe, best first
  bool byte_fallback = false, fuse_unk = false, ignore_merges = false;
  Token unk = -1, bos = -1, eos = -1, pad = -1;
  std::vector<AddedToken> added;
  std::vector<NormalizerStep> normalizer;
  std::vector<PreTokenizerStep> pre_tokenizer;
  std::vector<DecoderStep> decoder;
  bool has_decoder = true;            ///< false: pieces joined by spaces, as tokenizers does without one
  std::vector<Token> prefix, suffix;  ///< what add_special puts around a text
  /// The piece as tokenizer.json writes it.
  std::string written_piece(Token id) const;
};

/// Sizes and ids that must agree: every id named lies in the vocabulary, the parallel lists are as long as `pieces`.
Status validate(const TokenizerSpec& spec);

/// Makes a spec usable. Refuses what it cannot do exactly.
Result<std::shared_ptr<const Tokenizer>> make_tokenizer(TokenizerSpec spec);

Result<TokenizerSpec> read_gguf_vocab(const GgufVocab& vocab);
Result<TokenizerSpec> read_llama2c_vocab(const Llama2cVocab& vocab);
Result<TokenizerSpec> read_tokenizer_json(std::string_view json, std::string_view tokenizer_config);

}  // namespace sparing
