#pragma once
// What a plan is expected to come to, besides bytes (which are exact): numbers for people, with their uncertainty. No
// part of the recipe.

#include <map>
#include <string>
#include <string_view>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"

namespace sparing {

/// By name; what is not there is not known.
struct Forecast {
  std::map<std::string, double, std::less<>> values;

  bool has(std::string_view name) const { return values.contains(name); }
  double at(std::string_view name) const {
    const auto found = values.find(name);
    return found == values.end() ? 0.0 : found->second;
  }
  void set(std::string_view name, double value) { values.insert_or_assign(std::string(name), value); }
  bool operator==(const Forecast&) const = default;
};

/// KL a token before healing by the corrected additive model, and its relative uncertainty (left-out joint samples).
inline constexpr std::string_view kDamage = "damage", kDamageError = "damage_error";
/// The same measured on drafts of all sites: coded with the original's statistics and without polish.
inline constexpr std::string_view kDraftDamage = "draft_damage", kDraftDamageError = "draft_damage_error";
/// What the finished model is expected to measure there, before healing: final coding corrects and polishes.
inline constexpr std::string_view kFinishedDamage = "finished_damage";
/// KL that one more MiB of weights would buy.
inline constexpr std::string_view kPrice = "kl_per_mib";
inline constexpr std::string_view kTokensPerSecond = "tokens_per_second";
inline constexpr std::string_view kResident = "resident_bytes";
/// Coding alone: what planning took is spent.
inline constexpr std::string_view kCodingSeconds = "coding_seconds", kPeakBytes = "peak_bytes";
/// The original's pass over the text and measurements included.
inline constexpr std::string_view kHealSeconds = "heal_seconds";

/// Errors: names that are unknown, values that are no finite numbers.
Result<Forecast> forecast_from_json(const nlohmann::ordered_json& json);
nlohmann::ordered_json to_json(const Forecast& forecast);

}  // namespace sparing
