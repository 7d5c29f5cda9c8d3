#pragma once
// The plan's section on healing: as JSON, in the recipe, and from the command line.

#include <nlohmann/json.hpp>
#include <string>
#include <variant>

#include "plan/plan.h"

namespace sparing {

nlohmann::ordered_json heal_to_json(const HealSpec& spec);
/// Untrusted input: ranges are checked, unknown fields refused by name.
Result<HealSpec> heal_from_json(const nlohmann::ordered_json& value);
/// What of it decides the output: texts by their hashes.
nlohmann::ordered_json heal_recipe(const HealSpec& spec);

struct HealTokens {
  std::int64_t tokens = 0;
};
struct HealTime {
  double seconds = 0;
};
/// "51200", or "time=10min": becomes a count of tokens when the plan is made.
Result<std::variant<HealTokens, HealTime>> parse_heal(const std::string& text);

}  // namespace sparing
