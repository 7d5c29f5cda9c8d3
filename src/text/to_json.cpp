#include "text/to_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "text/unicode.h"
#include "text/vocabulary.h"

namespace sparing {
namespace {

// Keeps the order in which fields are written: tokenizers wants the tag first in places.
using Json = nlohmann::ordered_json;

Json pattern_json(const TextPattern& p) {
  return {{p.regex ? "Regex" : "String", p.text}};
}
const char* prepend_name(PreTokenizerStep::Prepend p) {
  constexpr const char* names[] = {"always", "never", "first"};
  return names[static_cast<int>(p)];
}

Json normalizer_json(const NormalizerStep& s) {
  using Kind = NormalizerStep::Kind;
  switch (s.kind) {
    case Kind::nfc:
      return {{"type", "NFC"}};
    case Kind::nfd:
      return {{"type", "NFD"}};
    case Kind::strip:
      return {{"type", "Strip"}, {"strip_left", s.left}, {"strip_right", s.right}};
    case Kind::prepend:
      return {{"type", "Prepend"}, {"prepend", s.text}};
    case Kind::replace:
      return {{"type", "Replace"}, {"pattern", pattern_json(s.pattern)}, {"content", s.text}};
  }
  return nullptr;
}

Json pre_tokenizer_json(const PreTokenizerStep& s) {
  using Kind = PreTokenizerStep::Kind;
  constexpr const char* behaviors[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
  switch (s.kind) {
    case Kind::byte_level:
      return {{"type", "ByteLevel"},
              {"add_prefix_space", s.add_prefix_space},
              {"trim_offsets", true},
              {"use_regex", s.use_regex}};
    case Kind::split:
      return {{"type", "Split"},
              {"pattern", pattern_json(s.pattern)},
              {"behavior", behaviors[static_cast<int>(s.behavior)]},
              {"invert", s.invert}};
    case Kind::digits:
      return {{"type", "Digits"}, {"individual_digits", s.individual}};
    case Kind::metaspace:
      return {{"type", "Metaspace"},
              {"replacement", s.replacement},
              {"prepend_scheme", prepend_name(s.prepend)},
              {"split", s.split}};
    case Kind::whitespace_split:
      return {{"type", "WhitespaceSplit"}};
    case Kind::whitespace:
      return {{"type", "Whitespace"}};
  }
  return nullptr;
}

Json decoder_json(const DecoderStep& s) {
  using Kind = DecoderStep::Kind;
  switch (s.kind) {
    case Kind::byte_level:
      return {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
    case Kind::byte_fallback:
      return {{"type", "ByteFallback"}};
    case Kind::fuse:
      return {{"type", "Fuse"}};
    case Kind::replace:
      return {{"type", "Replace"}, {"pattern", pattern_json(s.pattern)}, {"content", s.text}};
    case Kind::strip:
      return {{"type", "Strip"}, {"content", s.text}, {"start", s.start}, {"stop", s.stop}};
    case Kind::metaspace:
      return {
          {"type", "Metaspace"}, {"replacement", s.text}, {"prepend_scheme", prepend_name(s.prepend)}, {"split", true}};
  }
  return nullptr;
}

template <class T, class F>
Json sequence(const std::vector<T>& steps, const char* members, const F& one) {
  if (steps.empty()) return nullptr;
  if (steps.size() == 1) return one(steps[0]);
  Json list = Json::array();
  for (const T& s : steps) list.push_back(one(s));
  return {{"type", "Sequence"}, {members, list}};
}

Json template_json(const TokenizerSpec& spec) {
  if (spec.prefix.empty() && spec.suffix.empty()) return nullptr;
  Json single = Json::array(), tokens = Json::object();
  const auto put = [&](Token id) {
    const std::string name = spec.written_piece(id);
    single.push_back({{"SpecialToken", {{"id", name}, {"type_id", 0}}}});
    tokens[name] = {{"id", name}, {"ids", Json::array({id})}, {"tokens", Json::array({name})}};
  };
  for (const Token id : spec.prefix) put(id);
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  for (const Token id : spec.suffix) put(id);
  Json pair = single;
  pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
  return {{"type", "TemplateProcessing"}, {"single", single}, {"pair", pair}, {"special_tokens", tokens}};
}

/// The merge list that stands for scores: every way to make a piece of two others, best piece first, and of one
/// piece's ways those with the earlier parts first.
std::vector<Merge> merges_from_scores(const TokenizerSpec& spec) {
  const PieceIndex index(spec);
  std::vector<Token> order;
  for (std::size_t i = 0; i < spec.pieces.size(); ++i) {
    if (spec.in_model[i] && !spec.pieces[i].empty()) order.push_back(static_cast<Token>(i));
  }
  const auto score = [&](Token id) { return spec.scores[static_cast<std::size_t>(id)]; };
  std::stable_sort(order.begin(), order.end(), [&](Token a, Token b) { return score(a) > score(b); });
  std::vector<Merge> merges;
  for (const Token id : order) {
    const std::string_view piece = spec.pieces[static_cast<std::size_t>(id)];
    const std::size_t before = merges.size();
    for (std::size_t at = char_length(piece[0]); at < piece.size(); at += char_length(piece[at])) {
      const Token l = index.find(spec.pieces, piece.substr(0, at)), r = index.find(spec.pieces, piece.substr(at));
      if (l >= 0 && r >= 0) merges.push_back({l, r, id});
    }
    std::sort(merges.begin() + static_cast<std::ptrdiff_t>(before), merges.end(),
              [](const Merge& a, const Merge& b) { return std::pair(a.left, a.right) < std::pair(b.left, b.right); });
  }
  return merges;
}

/// Pieces in the model's vocabulary: those that were there, and what lies below the last of them (tokenizers numbers
/// added tokens from the model's size on).
std::vector<bool> model_pieces(const TokenizerSpec& spec) {
  std::vector<bool> in(spec.pieces.size(), false);
  bool below = false;
  for (std::size_t i = spec.pieces.size(); i-- > 0;) {
    below = below || spec.in_model[i];
    in[i] = below && !spec.pieces[i].empty();
  }
  return in;
}

Result<Json> model_json(const TokenizerSpec& spec) {
  const std::vector<bool> in = model_pieces(spec);
  if (spec.model == TokenizerSpec::Model::unigram) {
    Json vocab = Json::array();
    for (std::size_t i = 0; i < spec.pieces.size() && (in[i] || !spec.in_model[i]); ++i) {
      if (!in[i]) break;
      vocab.push_back(Json::array({spec.pieces[i], spec.unigram_scores[i]}));
    }
    const Json unk = spec.unk < 0 ? Json(nullptr) : Json(spec.unk);
    return Json{{"type", "Unigram"}, {"unk_id", unk}, {"vocab", vocab}, {"byte_fallback", spec.byte_fallback}};
  }
  Json vocab = Json::object();
  // ordered_json's own insertion searches all keys; these are known to differ.
  auto& entries = vocab.get_ref<Json::object_t&>();
  for (std::size_t i = 0; i < spec.pieces.size(); ++i) {
    if (in[i]) entries.emplace_back(spec.written_piece(static_cast<Token>(i)), i);
  }
  Json merges = Json::array();
  const bool scored = spec.model == TokenizerSpec::Model::bpe_by_score;
  for (const Merge& m : scored ? merges_from_scores(spec) : spec.merges) {
    merges.push_back(Json::array({spec.written_piece(m.left), spec.written_piece(m.right)}));
  }
  return Json{{"type", "BPE"},
              {"dropout", nullptr},
              {"unk_token", spec.unk < 0 ? Json(nullptr) : Json(spec.written_piece(spec.unk))},
              {"continuing_subword_prefix", nullptr},
              {"end_of_word_suffix", nullptr},
              {"fuse_unk", spec.fuse_unk},
              {"byte_fallback", spec.byte_fallback},
              {"ignore_merges", spec.ignore_merges},
              {"vocab", vocab},
              {"merges", merges}};
}

}  // namespace

Result<std::string> write_tokenizer_json(const TokenizerSpec& spec) {
  SPARING_TRY(Json model, model_json(spec));
  Json added = Json::array();
  std::vector<AddedToken> tokens = spec.added;
  std::sort(tokens.begin(), tokens.end(), [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  for (const AddedToken& t : tokens) {
    added.push_back({{"id", t.id},
                     {"content", t.content},
                     {"single_word", t.single_word},
                     {"lstrip", t.lstrip},
                     {"rstrip", t.rstrip},
                     {"normalized", t.normalized},
                     {"special", t.special}});
  }
  const Json root = {{"version", "1.0"},
                     {"truncation", nullptr},
                     {"padding", nullptr},
                     {"added_tokens", added},
                     {"normalizer", sequence(spec.normalizer, "normalizers", normalizer_json)},
                     {"pre_tokenizer", sequence(spec.pre_tokenizer, "pretokenizers", pre_tokenizer_json)},
                     {"post_processor", template_json(spec)},
                     {"decoder", sequence(spec.decoder, "decoders", decoder_json)},
                     {"model", model}};
  return root.dump(1);
}

}  // namespace sparing
