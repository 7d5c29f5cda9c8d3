#pragma once
// Strict JSON from untrusted files: bounded depth, no duplicate keys, typed access without exceptions.

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sparing {

/// Text from a file made fit for a one-line message: control characters and bytes above ASCII escaped, at most 80.
std::string shown(std::string_view text);

/// Parses one JSON value. Refuses duplicate keys (by name), more than 64 levels, and anything after the value.
/// `where` begins the messages: "[open] model/config.json".
Result<nlohmann::json> parse_json(std::string_view text, const std::string& where);
/// One line, sorted keys, invalid UTF-8 replaced.
std::string dump_json(const nlohmann::json& json);

/// Typed fields of one JSON object. An absent or null field gives the fallback, or an error if there is none.
class JsonFields {
 public:
  JsonFields(const nlohmann::json& object, std::string where) : object_(object), where_(std::move(where)) {}
  bool has(const char* key) const;  ///< present and not null
  bool contains(const char* key) const { return object_.is_object() && object_.contains(key); }
  Result<std::int64_t> integer(const char* key, std::optional<std::int64_t> fallback = {},
                               std::int64_t min = std::numeric_limits<std::int32_t>::min(),
                               std::int64_t max = std::numeric_limits<std::int32_t>::max()) const;
  Result<double> real(const char* key, std::optional<double> fallback = {}) const;  ///< finite
  Result<bool> boolean(const char* key, std::optional<bool> fallback = {}) const;
  Result<std::string> string(const char* key, std::optional<std::string> fallback = {}) const;
  /// The value itself, or null.
  const nlohmann::json& at(const char* key) const;
  Error wrong(const char* key, const std::string& wanted) const;
  const std::string& where() const { return where_; }

 private:
  const nlohmann::json& object_;
  std::string where_;
};

}  // namespace sparing
