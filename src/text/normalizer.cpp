#include "text/normalizer.h"

#include "text/normal_forms.h"
#include "text/unicode.h"

namespace sparing {
namespace {

using Kind = NormalizerStep::Kind;

std::string_view strip(std::string_view text, bool left, bool right) {
  const auto space = [&](std::size_t at) { return (char_class(next_char(text, at)) & kSpace) != 0; };
  std::size_t begin = 0, end = text.size();
  while (left && begin < end && space(begin)) begin += char_length(text[begin]);
  while (right && end > begin && space(previous_start(text, end))) end = previous_start(text, end);
  return text.substr(begin, end - begin);
}

}  // namespace

std::string replace_all(std::string_view text, const TextPattern& pattern, const std::optional<Regex>& regex,
                        std::string_view with) {
  std::string out;
  std::size_t kept = 0;
  const auto replace = [&](std::size_t begin, std::size_t end) {
    out += text.substr(kept, begin - kept);
    out += with;
    kept = end;
  };
  if (regex) {
    for (const auto& [begin, end] : regex->find_all(text)) replace(begin, end);
  } else if (!pattern.text.empty()) {
    for (std::size_t at = text.find(pattern.text); at != std::string_view::npos;
         at = text.find(pattern.text, at + pattern.text.size())) {
      replace(at, at + pattern.text.size());
    }
  }
  out += text.substr(kept);
  return out;
}

Result<Normalizer> Normalizer::create(const std::vector<NormalizerStep>& steps) {
  Normalizer out;
  for (const NormalizerStep& step : steps) {
    Compiled c{step, std::nullopt};
    if (step.kind == Kind::replace && step.pattern.regex) {
      SPARING_TRY(c.regex, Regex::compile(step.pattern.text));
    }
    out.steps_.push_back(std::move(c));
  }
  return out;
}

std::string Normalizer::apply(std::string_view text) const {
  std::string now(text);
  for (const auto& [step, regex] : steps_) {
    switch (step.kind) {
      case Kind::prepend:
        if (!now.empty()) now.insert(0, step.text);
        break;
      case Kind::replace:
        now = replace_all(now, step.pattern, regex, step.text);
        break;
      case Kind::strip:
        now = std::string(strip(now, step.left, step.right));
        break;
      case Kind::nfc:
        now = to_nfc(now);
        break;
      case Kind::nfd:
        now = to_nfd(now);
        break;
    }
  }
  return now;
}

}  // namespace sparing
