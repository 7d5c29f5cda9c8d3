#include "text/sentencepiece.h"

#include <nlohmann/json.hpp>
#include <unordered_map>

#include "text/added_tokens.h"
#include "text/compact.h"
#include "text/sentencepiece_library.h"
#include "text/sentencepiece_proto.h"
#include "text/spec_tokenizer.h"
#include "text/to_json.h"
#include "text/unicode.h"

namespace sparing {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";
constexpr std::string_view kUnknownSurface = " \xE2\x81\x87 ";

class SentencePieceTokenizer final : public SpecTokenizer {
 public:
  Status build(std::string model, bool adds_bos, bool adds_eos) {
    model_ = std::move(model);
    adds_bos_ = adds_bos;
    adds_eos_ = adds_eos;
    SPARING_TRY(settings_, read_sentencepiece_settings(model_));
    SPARING_TRY(library_, SentencePieceLibrary::open());
    if (const std::string wrong = library_->load(model_); !wrong.empty()) {
      return input_error("[tokenizer.model] " + wrong + ": give a SentencePiece model");
    }
    std::vector<AddedToken> control;
    std::vector<std::string> contents;
    for (Token id = 0; id < vocab_size(); ++id) {
      if (!is_valid_utf8(library_->piece(id))) {
        return input_error("[tokenizer.model] piece " + std::to_string(id) + " is not UTF-8: the file is damaged");
      }
      if (!library_->is_control(id) && !library_->is_unknown(id)) continue;
      AddedToken t;
      t.id = id;
      t.content = library_->piece(id);
      t.special = true;
      contents.push_back(t.content);
      control.push_back(std::move(t));
    }
    control_.emplace(std::move(control), contents);
    return {};
  }

  std::vector<Token> encode(std::string_view text, bool add_special, bool parse_special) const override {
    const std::string repaired = replace_invalid_utf8(text);
    std::vector<Token> out;
    if (add_special && adds_bos()) out.push_back(bos());
    std::vector<AddedTokenMatcher::Part> parts;
    control_->split(repaired, parse_special, parts);
    for (const auto& part : parts) {
      if (part.id >= 0) {
        out.push_back(part.id);
      } else {
        const std::vector<int> ids = library_->encode(part.text);
        out.insert(out.end(), ids.begin(), ids.end());
      }
    }
    if (add_special && adds_eos_ && eos() >= 0) out.push_back(eos());
    return out;
  }

  std::string decode(std::span<const Token> ids, bool skip_special) const override {
    std::string out;
    bool first = true;
    for (const Token id : ids) {
      if (id < 0 || id >= vocab_size()) continue;
      const std::string& piece = library_->piece(id);
      if (library_->is_control(id)) {
        if (skip_special) continue;
        out += piece;
        first = false;
      } else if (library_->is_unknown(id)) {
        out += kUnknownSurface;
        first = false;
      } else if (library_->is_byte(id)) {
        out.push_back(static_cast<char>(std::stoi(piece.substr(3, 2), nullptr, 16)));
        first = false;
      } else {
        append_piece(piece, first && settings_.add_dummy_prefix, out);
        first = false;
      }
    }
    return out;
  }

  std::int32_t vocab_size() const override { return library_->size(); }
  Token bos() const override { return library_->bos(); }
  Token eos() const override { return library_->eos(); }
  bool adds_bos() const override { return adds_bos_ && bos() >= 0; }
  std::string token_text(Token id) const override {
    return id < 0 || id >= vocab_size() ? std::string() : library_->piece(id);
  }
  Token find(std::string_view piece) const override {
    const Token id = library_->id_of(piece);
    return token_text(id) == piece ? id : -1;
  }
  std::string to_compact() const override {
    std::string payload(1, static_cast<char>((adds_bos_ ? 1 : 0) | (adds_eos_ ? 2 : 0)));
    return seal_compact(CompactKind::sentencepiece, payload + model_);
  }
  Result<std::string> to_tokenizer_json() const override {
    SPARING_TRY(const TokenizerSpec made, spec());
    return write_tokenizer_json(made);
  }
  Result<TokenizerSpec> spec() const override;

 private:
  static void append_piece(std::string_view piece, bool drop_space, std::string& out) {
    if (drop_space && piece.starts_with(kSpaceMark)) piece.remove_prefix(kSpaceMark.size());
    for (std::size_t at = 0; at < piece.size();) {
      if (piece.substr(at).starts_with(kSpaceMark)) {
        out.push_back(' ');
        at += kSpaceMark.size();
      } else {
        out.push_back(piece[at++]);
      }
    }
  }

  std::string model_;
  bool adds_bos_ = false, adds_eos_ = false;
  SentencePieceSettings settings_;
  std::unique_ptr<SentencePieceLibrary> library_;
  std::optional<AddedTokenMatcher> control_;
};

Result<TokenizerSpec> SentencePieceTokenizer::spec() const {
  if (settings_.has_character_map || settings_.remove_extra_whitespaces || !settings_.escape_whitespaces ||
      settings_.whitespace_as_suffix) {
    return input_error(
        "[export tokenizer] this SentencePiece model normalizes with a character map or removes spaces: only models "
        "that keep their text (normalization 'identity') can be written in another form; copy tokenizer.model instead");
  }
  if (settings_.model != SentencePieceSettings::kBpe && settings_.model != SentencePieceSettings::kUnigram) {
    return input_error("[export tokenizer] SentencePiece model type " + std::to_string(settings_.model) +
                       ": only unigram (1) and BPE (2) can be written in another form");
  }
  GgufVocab vocab;
  vocab.model = settings_.model == SentencePieceSettings::kBpe ? "llama" : "t5";
  for (Token id = 0; id < vocab_size(); ++id) {
    vocab.tokens.push_back(library_->piece(id));
    vocab.scores.push_back(library_->score(id));
    vocab.types.push_back(settings_.types[static_cast<std::size_t>(id)]);
  }
  vocab.bos = bos();
  vocab.eos = eos();
  vocab.unknown = library_->unknown();
  vocab.pad = library_->pad();
  vocab.add_bos = adds_bos();
  vocab.add_eos = adds_eos_;
  vocab.add_space_prefix = settings_.add_dummy_prefix;
  return read_gguf_vocab(vocab);
}

Result<std::shared_ptr<const Tokenizer>> make(std::string model, bool adds_bos, bool adds_eos) {
  auto tokenizer = std::make_shared<SentencePieceTokenizer>();
  SPARING_CHECK_OK(tokenizer->build(std::move(model), adds_bos, adds_eos));
  return std::shared_ptr<const Tokenizer>(std::move(tokenizer));
}

}  // namespace

Result<std::shared_ptr<const Tokenizer>> load_sentencepiece(const std::string& model,
                                                            std::string_view tokenizer_config) {
  bool adds_bos = true, adds_eos = false;
  if (!tokenizer_config.empty()) {
    const auto config = nlohmann::json::parse(tokenizer_config, nullptr, false);
    if (!config.is_object()) {
      return input_error("[tokenizer_config.json] not a JSON object: mend or remove the file");
    }
    const auto flag = [&](const char* name, bool otherwise) {
      const auto it = config.find(name);
      return it != config.end() && it->is_boolean() ? it->get<bool>() : otherwise;
    };
    adds_bos = flag("add_bos_token", adds_bos);
    adds_eos = flag("add_eos_token", adds_eos);
  }
  return make(model, adds_bos, adds_eos);
}

Result<std::shared_ptr<const Tokenizer>> load_sentencepiece_payload(std::string_view payload) {
  if (payload.empty() || static_cast<unsigned char>(payload[0]) > 3) {
    return input_error("[compact tokenizer] its contents are inconsistent: compress or convert the model again");
  }
  return make(std::string(payload.substr(1)), (payload[0] & 1) != 0, (payload[0] & 2) != 0);
}

}  // namespace sparing
