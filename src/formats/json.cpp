#include "formats/json.h"

#include <cmath>
#include <set>
#include <vector>

namespace sparing {
namespace {

constexpr int kMaxDepth = 64;

}  // namespace

std::string shown(std::string_view text) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string out;
  for (const char c : text.substr(0, 80)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7F) {
      out += c;
    } else {
      out += std::string("\\x") + digits[byte >> 4] + digits[byte & 15];
    }
  }
  if (text.size() > 80) out += "...";
  return out;
}

Result<nlohmann::json> parse_json(std::string_view text, const std::string& where) {
  using nlohmann::json;
  std::vector<std::set<std::string>> keys;
  std::string problem;
  // The parser is iterative, but whatever walks the value later may not be: depth is bounded here.
  const auto watch = [&](int depth, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::object_start || event == json::parse_event_t::array_start) {
      if (depth >= kMaxDepth && problem.empty()) problem = "nested deeper than 64 levels";
      if (event == json::parse_event_t::object_start) {
        keys.resize(static_cast<std::size_t>(depth) + 2);
        keys.back().clear();
      }
    } else if (event == json::parse_event_t::key) {
      auto& seen = keys[static_cast<std::size_t>(depth)];
      if (!seen.insert(value.get_ref<const std::string&>()).second && problem.empty()) {
        problem = "the key \"" + shown(value.get_ref<const std::string&>()) + "\" occurs twice";
      }
    }
    return problem.empty();
  };
  json value = json::parse(text.begin(), text.end(), watch, false);
  if (!problem.empty()) return input_error(where + ": " + problem);
  if (value.is_discarded()) return input_error(where + ": not valid JSON: download or write the file again");
  return value;
}

std::string dump_json(const nlohmann::json& json) {
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

const nlohmann::json& JsonFields::at(const char* key) const {
  static const nlohmann::json null;
  if (!object_.is_object()) return null;
  const auto found = object_.find(key);
  return found == object_.end() ? null : *found;
}

bool JsonFields::has(const char* key) const {
  return !at(key).is_null();
}

Error JsonFields::wrong(const char* key, const std::string& wanted) const {
  const auto& value = at(key);
  if (value.is_null()) return input_error(where_ + ": " + key + " is missing: " + wanted + " is needed");
  return input_error(where_ + ": " + key + " is " + shown(dump_json(value)) + ": " + wanted + " is needed");
}

Result<std::int64_t> JsonFields::integer(const char* key, std::optional<std::int64_t> fallback, std::int64_t min,
                                         std::int64_t max) const {
  const auto& value = at(key);
  const auto wanted = [&] { return "an integer from " + std::to_string(min) + " to " + std::to_string(max); };
  if (value.is_null() && fallback) return *fallback;
  if (!value.is_number_integer()) return wrong(key, wanted());
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(INT64_MAX)) {
    return wrong(key, wanted());
  }
  const auto number = value.get<std::int64_t>();
  if (number < min || number > max) return wrong(key, wanted());
  return number;
}

Result<double> JsonFields::real(const char* key, std::optional<double> fallback) const {
  const auto& value = at(key);
  if (value.is_null() && fallback) return *fallback;
  if (!value.is_number() || !std::isfinite(value.get<double>())) return wrong(key, "a number");
  return value.get<double>();
}

Result<bool> JsonFields::boolean(const char* key, std::optional<bool> fallback) const {
  const auto& value = at(key);
  if (value.is_null() && fallback) return *fallback;
  if (!value.is_boolean()) return wrong(key, "true or false");
  return value.get<bool>();
}

Result<std::string> JsonFields::string(const char* key, std::optional<std::string> fallback) const {
  const auto& value = at(key);
  if (value.is_null() && fallback) return *std::move(fallback);
  if (!value.is_string()) return wrong(key, "a string");
  return value.get<std::string>();
}

}  // namespace sparing
