// Vocabularies as GGUF's metadata holds them (tokenizer.ggml.*).

#include "text/gguf_pre.h"
#include "text/tokenizer_spec.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

namespace sparing {
namespace {

enum TokenType : std::int32_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6 };

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";
Error bad(const std::string& what) {
  return input_error("[tokenizer] " + what + ": convert the GGUF again");
}

void add_tokens(const GgufVocab& vocab, TokenizerSpec& spec) {
  for (std::size_t i = 0; i < vocab.types.size(); ++i) {
    const std::int32_t type = vocab.types[i];
    if (type != kControl && type != kUserDefined && type != kUnknown) continue;
    AddedToken t;
    t.id = static_cast<Token>(i);
    t.content = vocab.tokens[i];
    t.special = type != kUserDefined;
    spec.added.push_back(std::move(t));
  }
}

Status read_merges(const GgufVocab& vocab, TokenizerSpec& spec) {
  const PieceIndex index(spec);
  spec.merges.reserve(vocab.merges.size());
  std::string left, right;
  for (const std::string& merge : vocab.merges) {
    const std::size_t space = merge.find(' ', 1);
    if (space == std::string::npos) return bad("merge '" + merge + "' has no space");
    const std::string_view l = std::string_view(merge).substr(0, space), r = std::string_view(merge).substr(space + 1);
    if (!is_valid_utf8(merge) || !byte_level_to_bytes(l, left) || !byte_level_to_bytes(r, right)) {
      return bad("merge '" + merge + "' is not byte-level text");
    }
    Merge m{index.find(spec.pieces, left), index.find(spec.pieces, right), -1};
    left += right;
    m.result = index.find(spec.pieces, left);
    if (m.left < 0 || m.right < 0 || m.result < 0) {
      return bad("merge '" + merge + "' names a piece that the vocabulary lacks");
    }
    spec.merges.push_back(m);
  }
  return {};
}

Status read_byte_level(const GgufVocab& vocab, TokenizerSpec& spec) {
  SPARING_TRY(const bool adds_bos, apply_gguf_pre(vocab.pre, spec));
  spec.byte_level = true;
  std::string bytes;
  for (const std::string& token : vocab.tokens) {
    const bool alphabet = byte_level_to_bytes(token, bytes);
    spec.pieces.push_back(alphabet ? bytes : token);
    spec.literal.push_back(!alphabet);
  }
  spec.decoder.push_back({});
  if (spec.bos >= 0 && (vocab.add_bos == 1 || (vocab.add_bos == -1 && adds_bos))) spec.prefix = {spec.bos};
  if (vocab.merges.empty()) return bad("a byte-pair vocabulary without merges");
  return read_merges(vocab, spec);
}

void mark_spaces(const GgufVocab& vocab, TokenizerSpec& spec) {
  const bool prefix = vocab.add_space_prefix != 0;
  using N = NormalizerStep;
  using D = DecoderStep;
  const std::string mark(kSpaceMark);
  if (prefix) spec.normalizer.push_back({.kind = N::Kind::prepend, .pattern = {}, .text = mark});
  spec.normalizer.push_back({.kind = N::Kind::replace, .pattern = {false, " "}, .text = mark});
  spec.decoder.push_back({.kind = D::Kind::replace, .pattern = {false, mark}, .text = " "});
  spec.decoder.push_back({.kind = D::Kind::byte_fallback, .pattern = {}, .text = {}});
  spec.decoder.push_back({.kind = D::Kind::fuse, .pattern = {}, .text = {}});
  if (prefix) spec.decoder.push_back({.kind = D::Kind::strip, .pattern = {}, .text = " ", .start = 1});
}

Status read_scored(const GgufVocab& vocab, TokenizerSpec& spec) {
  if (vocab.scores.size() != vocab.tokens.size()) {
    return bad(std::to_string(vocab.scores.size()) + " scores for " + std::to_string(vocab.tokens.size()) + " tokens");
  }
  for (std::size_t i = 0; i < vocab.tokens.size(); ++i) {
    if (vocab.scores[i] != vocab.scores[i]) return bad("the score of token " + std::to_string(i) + " is not a number");
    spec.pieces.push_back(vocab.tokens[i]);
    const std::int32_t type = vocab.types.empty() ? static_cast<std::int32_t>(kNormal) : vocab.types[i];
    // Control, unknown and unused pieces are never made from text.
    spec.in_model[i] = type == kNormal || type == kUserDefined || type == kByte;
  }
  spec.byte_fallback = true;
  spec.fuse_unk = true;
  mark_spaces(vocab, spec);
  if (spec.bos >= 0 && vocab.add_bos != 0) spec.prefix = {spec.bos};
  if (vocab.model == "t5") {
    spec.model = TokenizerSpec::Model::unigram;
    spec.unigram_scores.assign(vocab.scores.begin(), vocab.scores.end());
    if (vocab.add_bos != 1) spec.prefix.clear();
    if (spec.eos >= 0 && vocab.add_eos != 0) spec.suffix = {spec.eos};
    return {};
  }
  spec.model = TokenizerSpec::Model::bpe_by_score;
  spec.scores = vocab.scores;
  return {};
}

}  // namespace

Result<TokenizerSpec> read_gguf_vocab(const GgufVocab& vocab) {
  TokenizerSpec spec;
  const std::size_t n = vocab.tokens.size();
  if (n == 0) return bad("a GGUF without tokenizer.ggml.tokens");
  if (!vocab.types.empty() && vocab.types.size() != n) {
    return bad(std::to_string(vocab.types.size()) + " token types for " + std::to_string(n) + " tokens");
  }
  std::size_t bytes = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (!is_valid_utf8(vocab.tokens[i])) return bad("token " + std::to_string(i) + " is not UTF-8");
    bytes += vocab.tokens[i].size();
  }
  if (bytes > 1u << 30) return bad("a vocabulary of " + std::to_string(bytes) + " bytes");
  spec.pieces.reserve(n, bytes);
  spec.in_model.assign(n, true);
  spec.bos = vocab.bos;
  spec.eos = vocab.eos;
  spec.unk = vocab.unknown;
  spec.pad = vocab.pad;
  add_tokens(vocab, spec);
  if (vocab.model == "gpt2") {
    spec.unk = -1;  // byte-level models drop what they lack; the id serves other tools as padding
    SPARING_CHECK_OK(read_byte_level(vocab, spec));
  } else if (vocab.model == "llama" || vocab.model == "t5") {
    SPARING_CHECK_OK(read_scored(vocab, spec));
  } else {
    return input_error("[tokenizer] unknown tokenizer.ggml.model '" + vocab.model + "': known are gpt2, llama, t5");
  }
  if (spec.eos >= 0 && vocab.add_eos == 1 && spec.suffix.empty()) spec.suffix = {spec.eos};
  return spec;
}

}  // namespace sparing
