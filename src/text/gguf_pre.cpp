#include "text/gguf_pre.h"

#include <algorithm>
#include <array>
#include <string>

#include "text/word_splitters.h"

namespace sparing {
namespace {

using Step = PreTokenizerStep;

/// Mistral's Tekken, as its tokenizer.json has it.
constexpr std::string_view kTekken =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

struct Pre {
  std::string_view name;
  KnownPattern pattern;
  bool ignore_merges, nfc, adds_bos;
};
constexpr std::array kPres = {
    Pre{"", KnownPattern::gpt2, false, false, false},
    Pre{"default", KnownPattern::gpt2, false, false, false},
    Pre{"gpt-2", KnownPattern::gpt2, false, false, false},
    Pre{"phi-2", KnownPattern::gpt2, false, false, false},
    Pre{"llama-bpe", KnownPattern::llama3, true, false, true},
    Pre{"llama3", KnownPattern::llama3, true, false, true},
    Pre{"llama-v3", KnownPattern::llama3, true, false, true},
    Pre{"qwen2", KnownPattern::qwen2, false, true, false},
    Pre{"deepseek-r1-qwen", KnownPattern::qwen2, false, true, false},
    Pre{"smollm", KnownPattern::smollm, false, false, false},
    Pre{"starcoder", KnownPattern::smollm, false, false, false},
    Pre{"refact", KnownPattern::smollm, false, false, false},
    Pre{"command-r", KnownPattern::smollm, false, false, false},
    Pre{"tekken", KnownPattern::none, true, false, true},
};

Step byte_level(bool regex) {
  Step s;
  s.kind = Step::Kind::byte_level;
  s.use_regex = regex;
  return s;
}

std::vector<Step> pre_tokenizer_of(const Pre& pre) {
  if (pre.pattern == KnownPattern::gpt2) return {byte_level(true)};
  Step first;
  if (pre.pattern == KnownPattern::smollm) {
    first.kind = Step::Kind::digits;
    return {first, byte_level(true)};
  }
  first.kind = Step::Kind::split;
  first.pattern = {true, std::string(pre.pattern == KnownPattern::none ? kTekken : regex_of(pre.pattern))};
  return {first, byte_level(false)};
}

bool equal(const Step& a, const Step& b) {
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case Step::Kind::byte_level:
      return a.add_prefix_space == b.add_prefix_space && a.use_regex == b.use_regex;
    case Step::Kind::digits:
      return a.individual == b.individual;
    case Step::Kind::split: {
      const auto keeps_all = [](const Step& s) {
        return (s.behavior == Step::Behavior::isolated && !s.invert) ||
               (s.behavior == Step::Behavior::removed && s.invert);
      };
      return a.pattern.regex && b.pattern.regex && a.pattern.text == b.pattern.text && keeps_all(a) && keeps_all(b);
    }
    default:
      return false;
  }
}

}  // namespace

Result<bool> apply_gguf_pre(std::string_view name, TokenizerSpec& spec) {
  const auto pre = std::find_if(kPres.begin(), kPres.end(), [&](const Pre& p) { return p.name == name; });
  if (pre == kPres.end()) {
    std::string known;
    for (const Pre& p : kPres) {
      if (!p.name.empty()) known += (known.empty() ? "" : ", ") + std::string(p.name);
    }
    return input_error("[tokenizer] unknown tokenizer.ggml.pre '" + std::string(name) + "': known are " + known);
  }
  spec.ignore_merges = pre->ignore_merges;
  if (pre->nfc) spec.normalizer.push_back({.kind = NormalizerStep::Kind::nfc, .pattern = {}, .text = {}});
  spec.pre_tokenizer = pre_tokenizer_of(*pre);
  return pre->adds_bos;
}

std::optional<std::string_view> gguf_pre_of(const TokenizerSpec& spec) {
  const bool nfc = spec.normalizer.size() == 1 && spec.normalizer[0].kind == NormalizerStep::Kind::nfc;
  if (!nfc && !spec.normalizer.empty()) return std::nullopt;
  for (const Pre& pre : kPres) {
    const auto steps = pre_tokenizer_of(pre);
    if (!pre.name.empty() && pre.name != "default" && pre.nfc == nfc && pre.ignore_merges == spec.ignore_merges &&
        std::equal(steps.begin(), steps.end(), spec.pre_tokenizer.begin(), spec.pre_tokenizer.end(), equal)) {
      return pre.name;
    }
  }
  return std::nullopt;
}

}  // namespace sparing
