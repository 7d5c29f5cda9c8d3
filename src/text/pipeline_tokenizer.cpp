// The tokenizer that a spec describes: added tokens, normalizer, pre-tokeniser, model, post-processor, decoder.

#include <unordered_map>

#include "text/added_tokens.h"
#include "text/compact.h"
#include "text/decoder.h"
#include "text/model.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/spec_tokenizer.h"
#include "text/to_json.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

namespace sparing {
namespace {

class EncodeWords final : public WordSink {
 public:
  EncodeWords(const TokenModel& model, std::vector<Token>& out) : model_(model), out_(out) {}
  void word(std::string_view w) override { model_.encode(w, out_); }

 private:
  const TokenModel& model_;
  std::vector<Token>& out_;
};

class PipelineTokenizer final : public SpecTokenizer {
 public:
  explicit PipelineTokenizer(TokenizerSpec spec) : spec_(std::move(spec)), index_(spec_) {}

  Status build() {
    SPARING_TRY(normalizer_, Normalizer::create(spec_.normalizer));
    SPARING_TRY(pre_tokenizer_, PreTokenizer::create(spec_.pre_tokenizer));
    SPARING_TRY(decoder_, Decoder::create(spec_.decoder, spec_.has_decoder));
    SPARING_TRY(model_,
                spec_.model == TokenizerSpec::Model::unigram ? make_unigram(spec_, index_) : make_bpe(spec_, index_));
    special_.resize(spec_.pieces.size());
    std::vector<AddedToken> as_is, normalized;
    std::vector<std::string> as_is_text, normalized_text;
    for (std::size_t i = 0; i < spec_.added.size(); ++i) {
      const AddedToken& token = spec_.added[i];
      if (token.special) special_[static_cast<std::size_t>(token.id)] = true;
      added_.emplace(token.content, i);
      (token.normalized ? normalized : as_is).push_back(token);
      (token.normalized ? normalized_text : as_is_text)
          .push_back(token.normalized ? normalizer_.apply(token.content) : token.content);
    }
    as_is_.emplace(std::move(as_is), as_is_text);
    normalized_.emplace(std::move(normalized), normalized_text);
    return {};
  }

  std::vector<Token> encode(std::string_view text, bool add_special, bool parse_special) const override {
    std::string repaired;
    if (!is_valid_utf8(text)) {
      repaired = replace_invalid_utf8(text);
      text = repaired;
    }
    std::vector<Token> out;
    out.reserve(text.size() / 4 + spec_.prefix.size() + spec_.suffix.size());
    if (add_special) out.insert(out.end(), spec_.prefix.begin(), spec_.prefix.end());
    std::vector<AddedTokenMatcher::Part> parts;
    as_is_->split(text, parse_special, parts);
    for (const auto& part : parts) {
      if (part.id >= 0) {
        out.push_back(part.id);
      } else {
        encode_plain(part.text, part.text.data() == text.data(), parse_special, out);
      }
    }
    if (add_special) out.insert(out.end(), spec_.suffix.begin(), spec_.suffix.end());
    return out;
  }

  std::string decode(std::span<const Token> ids, bool skip_special) const override {
    std::string joined;
    std::vector<std::string> pieces;
    for (const Token id : ids) {
      if (id < 0 || id >= vocab_size() || (skip_special && special_[static_cast<std::size_t>(id)])) continue;
      const std::string_view piece = spec_.pieces[static_cast<std::size_t>(id)];
      if (decoder_.only_joins()) {
        joined += piece;
      } else {
        pieces.emplace_back(piece);
      }
    }
    return decoder_.only_joins() ? joined : decoder_.decode(std::move(pieces));
  }

  std::int32_t vocab_size() const override { return static_cast<std::int32_t>(spec_.pieces.size()); }
  Token bos() const override { return spec_.bos; }
  Token eos() const override { return spec_.eos; }
  bool adds_bos() const override {
    return spec_.bos >= 0 && !spec_.prefix.empty() && spec_.prefix.front() == spec_.bos;
  }
  std::string token_text(Token id) const override {
    return id < 0 || id >= vocab_size() ? std::string() : std::string(spec_.pieces[static_cast<std::size_t>(id)]);
  }
  Token find(std::string_view piece) const override {
    const auto it = added_.find(std::string(piece));
    return it != added_.end() ? spec_.added[it->second].id : index_.find(spec_.pieces, piece);
  }
  std::string to_compact() const override { return write_compact(spec_); }
  Result<std::string> to_tokenizer_json() const override { return write_tokenizer_json(spec_); }
  Result<TokenizerSpec> spec() const override { return spec_; }

 private:
  void encode_plain(std::string_view text, bool first, bool parse_special, std::vector<Token>& out) const {
    std::string changed;
    if (!normalizer_.empty()) {
      changed = normalizer_.apply(text);
      text = changed;
    }
    EncodeWords sink(*model_, out);
    if (normalized_->empty()) {
      pre_tokenizer_.split(text, first, sink);
      return;
    }
    std::vector<AddedTokenMatcher::Part> parts;
    normalized_->split(text, parse_special, parts);
    for (const auto& part : parts) {
      if (part.id >= 0) {
        out.push_back(part.id);
      } else {
        pre_tokenizer_.split(part.text, first && part.text.data() == text.data(), sink);
      }
    }
  }

  TokenizerSpec spec_;
  PieceIndex index_;
  std::unique_ptr<const TokenModel> model_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  Decoder decoder_;
  std::vector<bool> special_;
  std::unordered_map<std::string, std::size_t> added_;
  std::optional<AddedTokenMatcher> as_is_, normalized_;
};

}  // namespace

std::string TokenizerSpec::written_piece(Token id) const {
  const auto i = static_cast<std::size_t>(id);
  return byte_level && !literal[i] ? bytes_to_byte_level(pieces[i]) : std::string(pieces[i]);
}

Result<std::shared_ptr<const Tokenizer>> make_tokenizer(TokenizerSpec spec) {
  SPARING_CHECK_OK(validate(spec));
  auto tokenizer = std::make_shared<PipelineTokenizer>(std::move(spec));
  SPARING_CHECK_OK(tokenizer->build());
  return std::shared_ptr<const Tokenizer>(std::move(tokenizer));
}

}  // namespace sparing
