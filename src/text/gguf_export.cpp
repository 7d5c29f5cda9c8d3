#include "text/gguf_export.h"

#include <algorithm>
#include <cstdio>

#include "text/gguf_pre.h"
#include "text/spec_tokenizer.h"

namespace sparing {
namespace {

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";

Error refuse(const std::string& what) {
  return input_error("[export GGUF tokenizer] " + what +
                     " has no name in GGUF: export as a Hugging Face directory instead");
}

bool is_byte_piece(std::string_view piece) {
  unsigned value = 0;
  char rest = 0;
  return piece.size() == 6 && std::sscanf(std::string(piece).c_str(), "<0x%2X%c", &value, &rest) == 2 && rest == '>';
}

void describe_tokens(const TokenizerSpec& spec, GgufVocab& out) {
  for (std::size_t i = 0; i < spec.pieces.size(); ++i) {
    std::string piece = spec.written_piece(static_cast<Token>(i));
    std::int32_t type = spec.in_model[i] ? 1 : 5;
    if (piece.empty()) {
      piece = "[UNUSED_" + std::to_string(i) + "]";
      type = 5;
    }
    if (!spec.byte_level && is_byte_piece(piece)) type = 6;
    out.tokens.push_back(std::move(piece));
    out.types.push_back(type);
  }
  for (const AddedToken& t : spec.added) {
    out.tokens[static_cast<std::size_t>(t.id)] = t.content;
    out.types[static_cast<std::size_t>(t.id)] = !t.special ? 4 : t.id == spec.unk ? 2 : 3;
  }
}

/// Spaces written as marks, with or without one before the text: legacy normalizers, Metaspace, or llama2.c's own.
Status describe_spaces(const TokenizerSpec& spec, GgufVocab& out) {
  out.add_space_prefix = 0;
  bool marks = false;
  for (const NormalizerStep& s : spec.normalizer) {
    if (s.kind == NormalizerStep::Kind::prepend && (s.text == kSpaceMark || s.text == " ")) {
      out.add_space_prefix = 1;
    } else if (s.kind == NormalizerStep::Kind::replace && !s.pattern.regex && s.pattern.text == " " &&
               s.text == kSpaceMark) {
      marks = true;
    } else {
      return refuse("a normalizer of this kind");
    }
  }
  for (const PreTokenizerStep& s : spec.pre_tokenizer) {
    const bool plain = s.kind == PreTokenizerStep::Kind::metaspace && s.replacement == kSpaceMark;
    // Split at marks, a model that has pieces with a mark inside would merge otherwise than without.
    if (!plain || marks || (s.split && spec.model != TokenizerSpec::Model::unigram)) {
      return refuse("a pre-tokenizer of this kind");
    }
    marks = true;
    if (s.prepend != PreTokenizerStep::Prepend::never) out.add_space_prefix = 1;
  }
  if (!marks) {
    // llama2.c keeps spaces as they are; GGUF readers expect marks.
    for (std::size_t i = 0; i < out.tokens.size(); ++i) {
      std::string marked;
      for (const char c : out.tokens[i]) marked += c == ' ' ? std::string(kSpaceMark) : std::string(1, c);
      if (out.types[i] == 1) out.tokens[i] = marked;
    }
  }
  return {};
}

/// Scores that order the merges as their ranks do: each piece by its first merge.
std::vector<float> scores_from_merges(const TokenizerSpec& spec) {
  std::vector<float> scores(spec.pieces.size(), 0.0f);
  std::vector<bool> ranked(spec.pieces.size(), false);
  float next = 0;
  for (const Merge& m : spec.merges) {
    const auto x = static_cast<std::size_t>(m.result);
    if (!ranked[x]) scores[x] = -next++;
    ranked[x] = true;
  }
  for (std::size_t i = 0; i < scores.size(); ++i) {
    if (!ranked[i] && spec.in_model[i] && !is_byte_piece(spec.pieces[i])) scores[i] = -next++;
  }
  return scores;
}

}  // namespace

Result<GgufVocab> to_gguf_vocab(const Tokenizer& tokenizer) {
  const auto* const holder = dynamic_cast<const SpecTokenizer*>(&tokenizer);
  if (holder == nullptr) return internal_error("[export GGUF tokenizer] a tokenizer without description");
  SPARING_TRY(const TokenizerSpec spec, holder->spec());
  GgufVocab out;
  describe_tokens(spec, out);
  out.bos = spec.bos;
  out.eos = spec.eos;
  out.unknown = spec.unk;
  out.pad = spec.pad;
  const auto around = [](const std::vector<Token>& list, Token id) { return list.size() == 1 && list[0] == id; };
  if ((!spec.prefix.empty() && !around(spec.prefix, spec.bos)) ||
      (!spec.suffix.empty() && !around(spec.suffix, spec.eos))) {
    // Without tokenizer_config.json the ends are not named; what is put before and after a text names them.
    if (spec.prefix.size() > 1 || spec.suffix.size() > 1) return refuse("a post-processor of several tokens");
    if (out.bos < 0 && !spec.prefix.empty()) out.bos = spec.prefix[0];
    if (out.eos < 0 && !spec.suffix.empty()) out.eos = spec.suffix[0];
    if ((!spec.prefix.empty() && spec.prefix[0] != out.bos) || (!spec.suffix.empty() && spec.suffix[0] != out.eos)) {
      return refuse("a post-processor of this kind");
    }
  }
  out.add_bos = !spec.prefix.empty();
  out.add_eos = !spec.suffix.empty();
  if (spec.byte_level) {
    const auto pre = gguf_pre_of(spec);
    if (!pre) return refuse("its pre-tokenizer");
    out.model = "gpt2";
    out.pre = *pre;
    for (const Merge& m : spec.merges) {
      out.merges.push_back(spec.written_piece(m.left) + " " + spec.written_piece(m.right));
    }
    return out;
  }
  SPARING_CHECK_OK(describe_spaces(spec, out));
  if (spec.model == TokenizerSpec::Model::unigram) {
    out.model = "t5";
    out.scores.assign(spec.unigram_scores.begin(), spec.unigram_scores.end());
    return out;
  }
  out.model = "llama";
  out.scores = spec.model == TokenizerSpec::Model::bpe ? scores_from_merges(spec) : spec.scores;
  return out;
}

}  // namespace sparing
