// Reads Hugging Face's tokenizer.json. What is not known is refused by its name.

#include <algorithm>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "text/tokenizer_spec.h"
#include "text/unicode.h"
#include "text/vocabulary.h"

namespace sparing {
namespace {

using Json = nlohmann::json;
constexpr std::int64_t kMostIds = 16'000'000;
constexpr int kDeepest = 16;

Error bad(const std::string& what) {
  return input_error("[tokenizer.json] " + what + ": the file is damaged or of a kind that is not supported");
}
const Json& get(const Json& object, const char* name) {
  static const Json null;
  if (!object.is_object()) return null;
  const auto it = object.find(name);
  return it == object.end() ? null : *it;
}
std::string text(const Json& object, const char* name, const std::string& otherwise = {}) {
  const Json& v = get(object, name);
  return v.is_string() ? v.get<std::string>() : otherwise;
}
bool flag(const Json& object, const char* name, bool otherwise) {
  const Json& v = get(object, name);
  return v.is_boolean() ? v.get<bool>() : otherwise;
}
std::optional<Token> id_of(const Json& v) {
  if (!v.is_number_integer()) return std::nullopt;
  if (v.is_number_unsigned() && v.get<std::uint64_t>() > static_cast<std::uint64_t>(kMostIds)) return std::nullopt;
  const auto n = v.get<std::int64_t>();
  if (n < 0 || n >= kMostIds) return std::nullopt;
  return static_cast<Token>(n);
}

Result<TextPattern> pattern_of(const Json& step) {
  const Json& p = get(step, "pattern");
  if (get(p, "String").is_string()) return TextPattern{false, p["String"].get<std::string>()};
  if (get(p, "Regex").is_string()) return TextPattern{true, p["Regex"].get<std::string>()};
  return bad("a " + text(step, "type") + " without pattern");
}

Result<PreTokenizerStep::Prepend> prepend_of(const Json& step) {
  const Json& legacy = get(step, "add_prefix_space");
  const std::string scheme =
      text(step, "prepend_scheme", legacy.is_boolean() && !legacy.get<bool>() ? "never" : "always");
  if (scheme == "always") return PreTokenizerStep::Prepend::always;
  if (scheme == "never") return PreTokenizerStep::Prepend::never;
  if (scheme == "first") return PreTokenizerStep::Prepend::first;
  return bad("Metaspace prepend_scheme '" + scheme + "'");
}
Result<std::string> replacement_of(const Json& step) {
  const std::string mark = text(step, "replacement", "\xE2\x96\x81");
  if (mark.empty() || char_length(mark[0]) != mark.size()) return bad("Metaspace replacement '" + mark + "'");
  return mark;
}

/// Calls `one` on each step of a possibly nested Sequence.
template <class F>
Status each_step(const Json& step, const char* members, int depth, const F& one) {
  if (step.is_null()) return {};
  if (depth > kDeepest) return bad("steps nested deeper than " + std::to_string(kDeepest));
  if (text(step, "type") != "Sequence") return one(step);
  for (const Json& s : get(step, members)) SPARING_CHECK_OK(each_step(s, members, depth + 1, one));
  return {};
}

Status read_normalizer(const Json& step, TokenizerSpec& spec) {
  using Kind = NormalizerStep::Kind;
  static const std::map<std::string, Kind> kinds = {{"NFC", Kind::nfc},
                                                    {"NFD", Kind::nfd},
                                                    {"Strip", Kind::strip},
                                                    {"Prepend", Kind::prepend},
                                                    {"Replace", Kind::replace}};
  const std::string type = text(step, "type");
  if (type == "Precompiled" && text(step, "precompiled_charsmap").empty()) return {};
  const auto kind = kinds.find(type);
  if (kind == kinds.end()) return bad("normalizer '" + type + "'");
  NormalizerStep out;
  out.kind = kind->second;
  out.left = flag(step, "strip_left", true);
  out.right = flag(step, "strip_right", true);
  if (out.kind == Kind::prepend) out.text = text(step, "prepend");
  if (out.kind == Kind::replace) {
    SPARING_TRY(out.pattern, pattern_of(step));
    out.text = text(step, "content");
  }
  spec.normalizer.push_back(std::move(out));
  return {};
}

Status read_pre_tokenizer(const Json& step, TokenizerSpec& spec) {
  using Kind = PreTokenizerStep::Kind;
  using Behavior = PreTokenizerStep::Behavior;
  if (spec.byte_level) return bad("a pre-tokenizer '" + text(step, "type") + "' after ByteLevel");
  const std::string type = text(step, "type");
  PreTokenizerStep out;
  if (type == "ByteLevel") {
    out.kind = Kind::byte_level;
    out.add_prefix_space = flag(step, "add_prefix_space", true);
    out.use_regex = flag(step, "use_regex", true);
    spec.byte_level = true;
  } else if (type == "Split") {
    out.kind = Kind::split;
    SPARING_TRY(out.pattern, pattern_of(step));
    static const std::map<std::string, Behavior> behaviors = {{"Removed", Behavior::removed},
                                                              {"Isolated", Behavior::isolated},
                                                              {"MergedWithPrevious", Behavior::merged_with_previous},
                                                              {"MergedWithNext", Behavior::merged_with_next},
                                                              {"Contiguous", Behavior::contiguous}};
    const auto behavior = behaviors.find(text(step, "behavior"));
    if (behavior == behaviors.end()) return bad("Split behavior '" + text(step, "behavior") + "'");
    out.behavior = behavior->second;
    out.invert = flag(step, "invert", false);
  } else if (type == "Digits") {
    out.kind = Kind::digits;
    out.individual = flag(step, "individual_digits", false);
  } else if (type == "Metaspace") {
    out.kind = Kind::metaspace;
    SPARING_TRY(out.replacement, replacement_of(step));
    SPARING_TRY(out.prepend, prepend_of(step));
    out.split = flag(step, "split", true);
  } else if (type == "WhitespaceSplit") {
    out.kind = Kind::whitespace_split;
  } else if (type == "Whitespace") {
    out.kind = Kind::whitespace;
  } else {
    return bad("pre-tokenizer '" + type + "'");
  }
  spec.pre_tokenizer.push_back(std::move(out));
  return {};
}

Status read_decoder(const Json& step, TokenizerSpec& spec) {
  using Kind = DecoderStep::Kind;
  const std::string type = text(step, "type");
  DecoderStep out;
  if (type == "ByteLevel") {
    out.kind = Kind::byte_level;
  } else if (type == "ByteFallback") {
    out.kind = Kind::byte_fallback;
  } else if (type == "Fuse") {
    out.kind = Kind::fuse;
  } else if (type == "Replace") {
    out.kind = Kind::replace;
    SPARING_TRY(out.pattern, pattern_of(step));
    out.text = text(step, "content");
  } else if (type == "Strip") {
    out.kind = Kind::strip;
    out.text = text(step, "content");
    const auto count = [&](const char* name) { return static_cast<std::uint32_t>(id_of(get(step, name)).value_or(0)); };
    out.start = count("start");
    out.stop = count("stop");
  } else if (type == "Metaspace") {
    out.kind = Kind::metaspace;
    SPARING_TRY(out.text, replacement_of(step));
    SPARING_TRY(out.prepend, prepend_of(step));
  } else {
    return bad("decoder '" + type + "'");
  }
  if ((out.kind == Kind::byte_level) != spec.byte_level) {
    return bad("decoder '" + type + (spec.byte_level ? "' with a" : "' without a") + " ByteLevel pre-tokenizer");
  }
  spec.decoder.push_back(std::move(out));
  return {};
}

Status read_template(const Json& step, TokenizerSpec& spec) {
  std::vector<Token> before, after;
  int sequences = 0;
  for (const Json& part : get(step, "single")) {
    if (part.is_object() && part.contains("Sequence")) {
      ++sequences;
      continue;
    }
    const std::string name = text(get(part, "SpecialToken"), "id");
    const Json& ids = get(get(get(step, "special_tokens"), name.c_str()), "ids");
    if (!ids.is_array()) return bad("TemplateProcessing token '" + name + "'");
    for (const Json& id : ids) {
      const auto n = id_of(id);
      if (!n) return bad("TemplateProcessing token '" + name + "'");
      (sequences == 0 ? before : after).push_back(*n);
    }
  }
  if (sequences != 1) return bad("a TemplateProcessing with " + std::to_string(sequences) + " sequences");
  spec.prefix.insert(spec.prefix.begin(), before.begin(), before.end());
  spec.suffix.insert(spec.suffix.end(), after.begin(), after.end());
  return {};
}

Status read_post_processor(const Json& step, TokenizerSpec& spec) {
  const std::string type = text(step, "type");
  if (type == "ByteLevel") return {};
  if (type == "TemplateProcessing") return read_template(step, spec);
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    const auto named = [&](const char* name) -> std::optional<Token> {
      const Json& pair = get(step, name);
      return pair.is_array() && pair.size() == 2 ? id_of(pair[1]) : std::nullopt;
    };
    const auto cls = named("cls"), sep = named("sep");
    if (!cls || !sep) return bad(type + " without cls and sep");
    spec.prefix.insert(spec.prefix.begin(), *cls);
    spec.suffix.push_back(*sep);
    return {};
  }
  return bad("post-processor '" + type + "'");
}

void place(TokenizerSpec& spec, std::size_t id, std::string_view written, bool in_model, std::string& scratch) {
  const bool alphabet = spec.byte_level && byte_level_to_bytes(written, scratch);
  spec.pieces.set(id, alphabet ? std::string_view(scratch) : written);
  spec.literal[id] = spec.byte_level && !alphabet;
  spec.in_model[id] = in_model;
}

struct Entries {
  std::vector<std::pair<std::string_view, Token>> model;  ///< views into the JSON
  std::vector<AddedToken> added;
};

Status read_vocabulary(const Json& root, Entries& entries, TokenizerSpec& spec) {
  const Json& vocab = get(get(root, "model"), "vocab");
  if (vocab.is_object()) {
    for (const auto& [piece, id] : vocab.items()) {
      const auto n = id_of(id);
      if (!n) return bad("id " + id.dump().substr(0, 40) + " in the vocabulary");
      entries.model.emplace_back(piece, *n);
    }
  } else if (vocab.is_array()) {
    for (std::size_t i = 0; i < vocab.size(); ++i) {
      const Json& item = vocab[i];
      if (!item.is_array() || item.size() != 2 || !item[0].is_string() || !item[1].is_number()) {
        return bad("entry " + std::to_string(i) + " of the vocabulary");
      }
      entries.model.emplace_back(item[0].get_ref<const std::string&>(), static_cast<Token>(i));
      spec.unigram_scores.push_back(item[1].get<double>());
    }
  } else {
    return bad("a model without vocabulary");
  }
  return {};
}

Status read_added(const Json& root, Entries& entries) {
  std::map<std::string_view, Token> by_piece;
  for (const auto& [piece, id] : entries.model) by_piece[piece] = id;  // of several equal pieces the last counts
  for (const Json& item : get(root, "added_tokens")) {
    AddedToken t;
    const auto id = id_of(get(item, "id"));
    t.content = text(item, "content");
    if (!id) return bad("added token '" + t.content + "' without id");
    if (t.content.empty()) continue;
    const auto known = by_piece.find(t.content);
    t.id = known == by_piece.end() ? *id : known->second;
    t.special = flag(item, "special", false);
    t.single_word = flag(item, "single_word", false);
    t.lstrip = flag(item, "lstrip", false);
    t.rstrip = flag(item, "rstrip", false);
    t.normalized = flag(item, "normalized", !t.special);
    entries.added.push_back(std::move(t));
  }
  return {};
}

Status place_all(const Entries& entries, TokenizerSpec& spec) {
  Token largest = -1;
  std::size_t bytes = 0;
  for (const auto& [piece, id] : entries.model) {
    largest = std::max(largest, id);
    bytes += piece.size();
  }
  for (const AddedToken& t : entries.added) {
    largest = std::max(largest, t.id);
    bytes += t.content.size();
  }
  const auto n = static_cast<std::size_t>(largest + 1);
  // Ids may have holes, but a file of a few bytes may not ask for gigabytes.
  if (n > 1000 + 16 * (entries.model.size() + entries.added.size())) return bad("id " + std::to_string(largest));
  spec.pieces.reserve(n, bytes);
  spec.pieces.resize(n);
  spec.literal.assign(n, false);
  spec.in_model.assign(n, false);
  std::string scratch;
  for (const AddedToken& t : entries.added) place(spec, static_cast<std::size_t>(t.id), t.content, false, scratch);
  for (const auto& [piece, id] : entries.model) place(spec, static_cast<std::size_t>(id), piece, true, scratch);
  spec.added = entries.added;
  return {};
}

Status read_merges(const Json& model, TokenizerSpec& spec) {
  const PieceIndex index(spec);
  std::string left, right, scratch;
  const auto find = [&](std::string_view written) -> Token {
    if (!spec.byte_level) return index.find(spec.pieces, written);
    return byte_level_to_bytes(written, scratch) ? index.find(spec.pieces, scratch) : -1;
  };
  const Json& merges = get(model, "merges");
  if (!merges.is_array()) return bad("a BPE model without merges");
  spec.merges.reserve(merges.size());
  for (const Json& merge : merges) {
    if (merge.is_string()) {
      const auto& both = merge.get_ref<const std::string&>();
      const std::size_t space = both.find(' ');
      if (space == std::string::npos) return bad("merge '" + both.substr(0, 80) + "'");
      left = both.substr(0, space);
      right = both.substr(space + 1);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      left = merge[0].get<std::string>();
      right = merge[1].get<std::string>();
    } else {
      return bad("merge " + merge.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 80));
    }
    const Merge m{find(left), find(right), find(left + right)};
    if (m.left < 0 || m.right < 0 || m.result < 0) {
      return bad("merge '" + left.substr(0, 80) + " " + right.substr(0, 80) +
                 "' names a piece that the vocabulary lacks");
    }
    spec.merges.push_back(m);
  }
  return {};
}

Status read_bpe(const Json& model, TokenizerSpec& spec) {
  for (const char* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!text(model, name).empty()) return bad(std::string(name) + " '" + text(model, name) + "'");
  }
  const Json& dropout = get(model, "dropout");
  if (dropout.is_number() && dropout.get<double>() != 0) return bad("BPE dropout");
  spec.byte_fallback = flag(model, "byte_fallback", false);
  spec.fuse_unk = flag(model, "fuse_unk", false);
  spec.ignore_merges = flag(model, "ignore_merges", false);
  return read_merges(model, spec);
}

Status read_unigram(const Json& model, TokenizerSpec& spec) {
  spec.model = TokenizerSpec::Model::unigram;
  spec.byte_fallback = flag(model, "byte_fallback", false);
  spec.unigram_scores.resize(spec.pieces.size(), 0.0);
  const Json& unk = get(model, "unk_id");
  if (unk.is_null()) return {};
  const auto id = id_of(unk);
  if (!id || static_cast<std::size_t>(*id) >= spec.pieces.size()) return bad("unk_id " + unk.dump().substr(0, 40));
  spec.unk = *id;
  return {};
}

/// bos_token and its like are names, or objects with `content`.
Token named_token(const Json& config, const char* name, const std::map<std::string_view, Token>& ids) {
  const Json& v = get(config, name);
  const std::string content = v.is_object() ? text(v, "content") : text(config, name);
  const auto it = ids.find(content);
  return content.empty() || it == ids.end() ? -1 : it->second;
}

Status read_config(std::string_view config_text, const Entries& entries, TokenizerSpec& spec) {
  if (config_text.empty()) return {};
  const Json config = Json::parse(config_text, nullptr, false);
  if (!config.is_object()) return input_error("[tokenizer_config.json] not a JSON object: mend or remove the file");
  std::map<std::string_view, Token> ids;
  for (const AddedToken& t : entries.added) ids.emplace(t.content, t.id);
  for (const auto& [piece, id] : entries.model) ids.emplace(piece, id);
  spec.bos = named_token(config, "bos_token", ids);
  spec.eos = named_token(config, "eos_token", ids);
  spec.pad = named_token(config, "pad_token", ids);
  // Where either is said, transformers builds the post-processor anew from both.
  if (get(config, "add_bos_token").is_boolean() || get(config, "add_eos_token").is_boolean()) {
    spec.prefix.clear();
    spec.suffix.clear();
    if (flag(config, "add_bos_token", false) && spec.bos >= 0) spec.prefix = {spec.bos};
    if (flag(config, "add_eos_token", false) && spec.eos >= 0) spec.suffix = {spec.eos};
  }
  return {};
}

}  // namespace

Result<TokenizerSpec> read_tokenizer_json(std::string_view json, std::string_view tokenizer_config) {
  const Json root = Json::parse(json, nullptr, false);
  if (!root.is_object()) return bad("not a JSON object");
  const Json& model = get(root, "model");
  std::string type = text(model, "type");
  if (type.empty()) type = get(model, "merges").is_array() ? "BPE" : get(model, "vocab").is_array() ? "Unigram" : "";
  if (type != "BPE" && type != "Unigram") return bad("model '" + type + "'");
  if ((type == "BPE") != get(model, "vocab").is_object()) return bad("the vocabulary of a " + type + " model");
  TokenizerSpec spec;
  const auto step = [&](auto read) { return [&spec, read](const Json& s) { return read(s, spec); }; };
  SPARING_CHECK_OK(each_step(get(root, "normalizer"), "normalizers", 0, step(read_normalizer)));
  SPARING_CHECK_OK(each_step(get(root, "pre_tokenizer"), "pretokenizers", 0, step(read_pre_tokenizer)));
  SPARING_CHECK_OK(each_step(get(root, "decoder"), "decoders", 0, step(read_decoder)));
  SPARING_CHECK_OK(each_step(get(root, "post_processor"), "processors", 0, step(read_post_processor)));
  spec.has_decoder = !get(root, "decoder").is_null();
  Entries entries;
  SPARING_CHECK_OK(read_vocabulary(root, entries, spec));
  SPARING_CHECK_OK(read_added(root, entries));
  SPARING_CHECK_OK(place_all(entries, spec));
  if (type == "BPE") {
    const std::string unk = text(model, "unk_token");
    for (const auto& [piece, id] : entries.model) {
      if (!unk.empty() && piece == unk) spec.unk = id;
    }
    SPARING_CHECK_OK(read_bpe(model, spec));
  } else {
    SPARING_CHECK_OK(read_unigram(model, spec));
  }
  SPARING_CHECK_OK(read_config(tokenizer_config, entries, spec));
  return spec;
}

}  // namespace sparing
