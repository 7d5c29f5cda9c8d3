#include "formats/carried.h"

#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include "base/atomic_file.h"
#include "base/log.h"
#include "base/units.h"
#include "formats/json.h"
#include "formats/model_card.h"

namespace sparing {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxTokenizerConfig = 16 << 20;
constexpr std::size_t kMaxLicences = 16;
constexpr std::array<std::string_view, 5> kLicenceNames = {"LICENSE", "LICENCE", "NOTICE", "COPYING", "USE_POLICY"};

bool is_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

/// The template string of tokenizer_config.json: one, or the one called "default" of several.
Result<std::string> template_of(const nlohmann::json& config) {
  if (!config.is_object() || !config.contains("chat_template")) return std::string();
  const auto& value = config["chat_template"];
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_array()) return std::string();
  for (const auto& entry : value) {
    const JsonFields fields(entry, "");
    if (fields.at("name") == "default" && fields.at("template").is_string()) {
      return fields.at("template").get<std::string>();
    }
  }
  return std::string();
}

Status read_template(const fs::path& folder, CarriedFiles& files) {
  const fs::path own = folder / "chat_template.jinja", config = folder / "tokenizer_config.json";
  std::string text;
  if (is_file(own)) {
    SPARING_TRY(text, read_text_file(own, kMaxCarriedBytes));
  } else if (is_file(config)) {
    SPARING_TRY(const std::string json_text, read_text_file(config, kMaxTokenizerConfig));
    SPARING_TRY(const nlohmann::json json, parse_json(json_text, "[open] " + config.string()));
    SPARING_TRY(text, template_of(json));
    if (text.size() > kMaxCarriedBytes) {
      return input_error("[open] " + config.string() + ": chat_template of " + std::to_string(text.size()) +
                         " bytes: at most " + std::to_string(kMaxCarriedBytes) + " are read");
    }
  }
  if (!text.empty()) files["chat_template.jinja"] = std::move(text);
  return {};
}

std::set<std::string> licences(const fs::path& folder) {
  std::set<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    const bool licence = std::any_of(kLicenceNames.begin(), kLicenceNames.end(),
                                     [&](std::string_view prefix) { return name.starts_with(prefix); });
    if (licence && name.size() < 128 && is_file(it->path())) names.insert(name);
  }
  while (names.size() > kMaxLicences) names.erase(std::prev(names.end()));
  return names;
}

}  // namespace

Result<CarriedFiles> read_carried(const fs::path& folder) {
  CarriedFiles files;
  SPARING_CHECK_OK(read_template(folder, files));
  if (is_file(folder / "generation_config.json")) {
    SPARING_TRY(files["generation_config.json"], read_text_file(folder / "generation_config.json", kMaxCarriedBytes));
  }
  std::set<std::string> names = licences(folder);
  if (is_file(folder / "README.md")) names.insert("README.md");
  for (const std::string& name : names) {
    auto text = read_text_file(folder / name, kMaxCarriedBytes);
    if (text.ok()) {
      files[name] = *std::move(text);
    } else {
      log_warning("left out: " + text.error().message);
    }
  }
  return files;
}

Result<CarriedFiles> carried_from_gguf(const GgufHeader& header, const std::string& where) {
  CarriedFiles files;
  if (const GgufValue* value = header.find("tokenizer.chat_template"); value != nullptr) {
    const auto text = value->string();
    if (!text || text->size() > kMaxCarriedBytes) {
      return input_error(where + ": metadata tokenizer.chat_template must be a string of at most " +
                         std::to_string(kMaxCarriedBytes) + " bytes");
    }
    files["chat_template.jinja"] = std::string(*text);
  }
  if (std::string card = card_from_gguf(header); !card.empty()) files["README.md"] = std::move(card);
  return files;
}

}  // namespace sparing
