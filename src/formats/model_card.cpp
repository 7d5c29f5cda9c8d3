#include "formats/model_card.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <variant>
#include <vector>

#include "formats/json.h"

namespace sparing {
namespace {

constexpr std::size_t kMaxValue = 4096, kMaxItems = 256, kMaxKeys = 128, kMaxKey = 128;
constexpr std::string_view kGeneral = "general.", kCount = ".count";  // counts are numbers, all else is text

/// Names that a model card has for general.* keys.
constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kNames = {{
    {"general.languages", "language"},
    {"general.license", "license"},
    {"general.license.link", "license_link"},
    {"general.license.name", "license_name"},
    {"general.tags", "tags"},
}};
/// What describes a file, or is the exporter's own.
constexpr std::array<std::string_view, 6> kOfTheFile = {
    "general.alignment", "general.architecture",         "general.file_type",
    "general.name",      "general.quantization_version", "general.type"};

bool is_of_the_file(std::string_view key) {
  return std::find(kOfTheFile.begin(), kOfTheFile.end(), key) != kOfTheFile.end();
}

/// Letters, digits and ._- only: a hostile key cannot add lines.
bool is_plain_key(std::string_view key) {
  return key.size() <= kMaxKey && std::all_of(key.begin(), key.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
                  c == '-';
         });
}

nlohmann::json to_json(std::string_view key, const GgufValue& value) {
  if (const auto text = value.string(); text && text->size() <= kMaxValue) return std::string(*text);
  if (value.is_array() && value.count() <= kMaxItems) {
    if (auto list = value.strings(); list && !list->empty()) return *std::move(list);
  }
  if (!value.is_array() && key.ends_with(kCount)) {
    if (const auto number = value.integer()) return *number;
  }
  return nullptr;
}

/// The front matter's lines, without the fences.
std::string_view front_matter(std::string_view card) {
  if (!card.starts_with("---\n")) return {};
  const auto end = card.find("\n---", 3);
  return end == std::string_view::npos ? std::string_view() : card.substr(4, std::max<std::size_t>(end, 3) - 3);
}

std::string_view trimmed(std::string_view text) {
  const auto begin = text.find_first_not_of(" \t\r");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t\r") - begin + 1);
}

/// One YAML scalar of those that model cards use; null for the rest (blocks, anchors, nested mappings).
nlohmann::json scalar(std::string_view text) {
  text = trimmed(text);
  if (text.empty() || text.size() > 2 * kMaxValue) return nullptr;
  if (text.front() == '"') {
    auto parsed = parse_json(text, "");
    return parsed.ok() && parsed->is_string() ? *std::move(parsed) : nlohmann::json();
  }
  if (text.front() == '\'') {
    if (text.size() < 2 || text.back() != '\'') return nullptr;
    std::string inner(text.substr(1, text.size() - 2)), out;
    for (std::size_t i = 0; i < inner.size(); ++i) {
      out += inner[i];
      if (inner[i] == '\'' && i + 1 < inner.size() && inner[i + 1] == '\'') ++i;
    }
    return out;
  }
  if (std::string_view("|>&*!{%@`").find(text.front()) != std::string_view::npos) return nullptr;
  if (const auto comment = text.find(" #"); comment != std::string_view::npos) text = trimmed(text.substr(0, comment));
  return std::string(text);
}

/// [a, "b", c]
nlohmann::json flow_list(std::string_view text) {
  if (auto parsed = parse_json(text, ""); parsed.ok()) return *std::move(parsed);
  nlohmann::json list = nlohmann::json::array();
  text = text.substr(1, text.size() - 2);
  while (!text.empty() && list.size() < kMaxItems) {
    const auto comma = std::min(text.find(','), text.size());
    if (auto item = scalar(text.substr(0, comma)); item.is_string()) list.push_back(std::move(item));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return list;
}

std::map<std::string, nlohmann::json> read_front_matter(std::string_view lines) {
  std::map<std::string, nlohmann::json> fields;
  std::string open;  // the key whose list items follow
  while (!lines.empty() && fields.size() < kMaxKeys) {
    const auto end = std::min(lines.find('\n'), lines.size());
    const std::string_view line = lines.substr(0, end), content = trimmed(line);
    lines.remove_prefix(std::min(end + 1, lines.size()));
    if (content.empty() || content.front() == '#') continue;
    if (content.starts_with("- ")) {
      auto item = open.empty() ? nlohmann::json() : scalar(content.substr(2));
      if (item.is_string() && fields[open].size() < kMaxItems) fields[open].push_back(std::move(item));
      continue;
    }
    open.clear();
    const auto colon = content.find(':');
    if (line.front() == ' ' || colon == std::string_view::npos) continue;
    const std::string key(content.substr(0, colon));
    const std::string_view value = trimmed(content.substr(colon + 1));
    if (!is_plain_key(key) || fields.contains(key)) continue;
    if (value.empty()) {
      open = key;
      fields[key] = nlohmann::json::array();
    } else {
      fields[key] = value.front() == '[' && value.back() == ']' ? flow_list(value) : scalar(value);
    }
  }
  return fields;
}

void put(const std::string& key, const nlohmann::json& value, bool as_list, GgufMetadata& metadata) {
  std::vector<std::string> list;
  if (value.is_array()) {
    for (const auto& item : value) {
      if (item.is_string()) list.push_back(item.get<std::string>());
    }
    if (list.empty()) return;
  } else if (as_list && value.is_string()) {
    list.push_back(value.get<std::string>());
  }
  if (!list.empty()) {
    metadata.put(key, list);
  } else if (value.is_string() && key.ends_with(kCount)) {
    const auto text = value.get<std::string>();
    if (!text.empty() && text.size() < 6 &&
        std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; })) {
      metadata.put(key, static_cast<std::uint32_t>(std::stoul(text)));
    }
  } else if (value.is_string()) {
    metadata.put(key, value.get<std::string>());
  }
}

/// "org/name" as GGUF describes the models that one comes from.
void put_base_models(const nlohmann::json& value, GgufMetadata& metadata) {
  std::vector<std::string> models;
  for (const auto& item : value.is_array() ? value : nlohmann::json::array({value})) {
    if (item.is_string() && !item.get<std::string>().empty()) models.push_back(item.get<std::string>());
  }
  if (models.empty()) return;
  metadata.put("general.base_model.count", static_cast<std::uint32_t>(models.size()));
  for (std::size_t i = 0; i < models.size(); ++i) {
    const std::string key = "general.base_model." + std::to_string(i), &model = models[i];
    const auto slash = model.find('/');
    const bool repository = slash != std::string::npos && model.find("://") == std::string::npos;
    metadata.put(key + ".name", repository ? model.substr(slash + 1) : model);
    if (repository) {
      metadata.put(key + ".organization", model.substr(0, slash));
      metadata.put(key + ".repo_url", "https://huggingface.co/" + model);
    }
  }
}

}  // namespace

std::string card_from_gguf(const GgufHeader& header) {
  std::string front, body;
  std::size_t keys = 0;
  for (const auto& [key, value] : header.metadata) {
    if (!key.starts_with(kGeneral) || is_of_the_file(key) || !is_plain_key(key) || ++keys > kMaxKeys) continue;
    const nlohmann::json json = to_json(key, value);
    if (json.is_null()) continue;
    const auto named = std::find_if(kNames.begin(), kNames.end(), [&](const auto& n) { return n.first == key; });
    // JSON strings are YAML strings: quoting keeps a hostile value from adding lines.
    front += (named == kNames.end() ? key : std::string(named->second)) + ": " + dump_json(json) + "\n";
  }
  const auto text = [&](const char* key) {
    const GgufValue* value = header.find(key);
    return std::string(value == nullptr ? "" : value->string().value_or("").substr(0, kMaxValue));
  };
  if (const std::string name = text("general.name"); !name.empty()) body += "# " + shown(name) + "\n";
  for (const auto& [key, label] : {std::pair{"general.organization", "Organisation"},
                                   {"general.author", "Author"},
                                   {"general.description", "Description"},
                                   {"general.url", "Home"},
                                   {"general.source.url", "Source"},
                                   {"general.source.repo_url", "Source repository"}}) {
    if (const std::string value = text(key); !value.empty()) {
      body += "\n" + std::string(label) + ": " + shown(value) + "\n";
    }
  }
  if (front.empty() && body.empty()) return {};
  return (front.empty() ? "" : "---\n" + front + "---\n") + body;
}

void put_card(const std::string& card, GgufMetadata& metadata) {
  const auto fields = read_front_matter(front_matter(card));
  bool base_model = false;
  for (const auto& [key, value] : fields) base_model |= key.starts_with("general.base_model.");
  for (const auto& [key, value] : fields) {
    const auto named = std::find_if(kNames.begin(), kNames.end(), [&](const auto& n) { return n.second == key; });
    if (named != kNames.end()) {
      const std::string name(named->first);
      put(name, value, name == "general.languages" || name == "general.tags", metadata);
    } else if (key.starts_with(kGeneral) && !is_of_the_file(key)) {
      put(key, value, false, metadata);
    } else if (key == "base_model" && !base_model) {
      put_base_models(value, metadata);
    }
  }
}

}  // namespace sparing
