#include "methods/claim.h"

#include <charconv>

namespace sparing {
namespace {

using ParamList = std::vector<std::pair<std::string, std::string>>;

constexpr std::int64_t kMostAlternatives = 4096;

std::string_view cut(std::string_view& text, char separator) {
  const std::size_t end = std::min(text.find(separator), text.size());
  const std::string_view part = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return part;
}

bool number(std::string_view text, std::int64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

Error unreadable(std::string_view text) {
  return usage_error("[claim] '" + std::string(text) + "' is not NAME=VALUE, NAME=A|B or NAME=FROM..TO:STEP");
}

/// "16..64:4" as its numbers, anything else as itself.
Status expand(std::string_view value, std::vector<std::string>& out) {
  const std::size_t dots = value.find("..");
  if (dots == std::string_view::npos) {
    if (value.empty()) return unreadable(value);
    out.emplace_back(value);
    return {};
  }
  std::string_view rest = value.substr(dots + 2);
  const std::string_view to = cut(rest, ':');
  std::int64_t first = 0, last = 0, step = 1;
  if (!number(value.substr(0, dots), first) || !number(to, last) || (!rest.empty() && !number(rest, step)) ||
      step < 1 || last < first || (last - first) / step >= kMostAlternatives) {
    return unreadable(value);
  }
  for (std::int64_t v = first; v <= last; v += step) out.push_back(std::to_string(v));
  return {};
}

}  // namespace

Result<std::vector<ParamList>> claim_settings(std::string_view params) {
  std::vector<ParamList> settings(1);
  while (!params.empty()) {
    const std::string_view word = cut(params, ' ');
    if (word.empty()) continue;
    std::string_view value = word;
    const std::string_view name = cut(value, '=');
    if (name.empty() || name == word) return unreadable(word);
    std::vector<std::string> values;
    do SPARING_CHECK_OK(expand(cut(value, '|'), values));
    while (!value.empty());
    if (static_cast<std::int64_t>(settings.size() * values.size()) > kMostAlternatives) return unreadable(word);
    std::vector<ParamList> longer;
    for (const ParamList& setting : settings) {
      for (const std::string& v : values) {
        longer.push_back(setting);
        longer.back().emplace_back(name, v);
      }
    }
    settings = std::move(longer);
  }
  return settings;
}

}  // namespace sparing
