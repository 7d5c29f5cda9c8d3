#include <string>

#include "text/tokenizer_spec.h"
#include "text/unicode.h"

namespace sparing {
namespace {

Error bad(const std::string& what) {
  return input_error("[tokenizer] " + what + ": the tokenizer's files are damaged or do not belong together");
}

Status validate_texts(const TokenizerSpec& spec) {
  const auto check = [](std::initializer_list<std::string_view> texts) -> Status {
    for (const std::string_view t : texts) {
      if (!is_valid_utf8(t)) return bad("a token or step is not UTF-8");
    }
    return {};
  };
  for (const auto& t : spec.added) SPARING_CHECK_OK(check({t.content}));
  for (const auto& s : spec.normalizer) SPARING_CHECK_OK(check({s.pattern.text, s.text}));
  for (const auto& s : spec.pre_tokenizer) SPARING_CHECK_OK(check({s.pattern.text, s.replacement}));
  for (const auto& s : spec.decoder) SPARING_CHECK_OK(check({s.pattern.text, s.text}));
  return {};
}

}  // namespace

Status validate(const TokenizerSpec& spec) {
  const std::size_t n = spec.pieces.size();
  if (n == 0 || n > 16'000'000) return bad("a vocabulary of " + std::to_string(n) + " pieces");
  const auto in = [&](Token id) { return id >= 0 && static_cast<std::size_t>(id) < n; };
  const auto in_or_none = [&](Token id) { return id == -1 || in(id); };
  if (spec.in_model.size() != n || (spec.byte_level && spec.literal.size() != n)) {
    return internal_error("[tokenizer] lists of unequal length in a spec");
  }
  for (std::size_t i = 0; i < n; ++i) {
    if ((!spec.byte_level || spec.literal[i]) && !is_valid_utf8(spec.pieces[i])) {
      return bad("piece " + std::to_string(i) + " is not UTF-8");
    }
  }
  SPARING_CHECK_OK(validate_texts(spec));
  for (const Token id : {spec.unk, spec.bos, spec.eos, spec.pad}) {
    if (!in_or_none(id)) return bad("special token id " + std::to_string(id) + " of " + std::to_string(n));
  }
  for (const Merge& m : spec.merges) {
    if (!in(m.left) || !in(m.right) || !in(m.result)) return bad("a merge outside the vocabulary");
  }
  for (const AddedToken& t : spec.added) {
    if (!in(t.id)) return bad("added token id " + std::to_string(t.id) + " of " + std::to_string(n));
  }
  for (const auto* list : {&spec.prefix, &spec.suffix}) {
    for (const Token id : *list) {
      if (!in(id)) return bad("post-processor token id " + std::to_string(id) + " of " + std::to_string(n));
    }
  }
  if (spec.model == TokenizerSpec::Model::bpe_by_score && spec.scores.size() != n) {
    return bad(std::to_string(spec.scores.size()) + " scores for " + std::to_string(n) + " pieces");
  }
  if (spec.model == TokenizerSpec::Model::unigram && spec.unigram_scores.size() != n) {
    return bad(std::to_string(spec.unigram_scores.size()) + " scores for " + std::to_string(n) + " pieces");
  }
  return {};
}

}  // namespace sparing
