#include "plan/forecast.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace sparing {

Result<Forecast> forecast_from_json(const nlohmann::ordered_json& json) {
  constexpr std::string_view known[] = {kDamage,    kDamageError,     kDraftDamage,   kDraftDamageError,
                                        kPrice,     kTokensPerSecond, kResident,      kCodingSeconds,
                                        kPeakBytes, kHealSeconds,     kFinishedDamage};
  if (!json.is_object()) return input_error("[plan] forecast: is not an object");
  Forecast forecast;
  for (const auto& [name, value] : json.items()) {
    if (std::ranges::find(known, std::string_view(name)) == std::end(known)) {
      std::string text =
          nlohmann::ordered_json(name).dump(-1, ' ', true, nlohmann::ordered_json::error_handler_t::replace);
      if (text.size() > 60) text = text.substr(0, 57) + "...";
      return input_error("[plan] forecast: unknown field " + text + ": remove it");
    }
    if (!value.is_number() || !std::isfinite(value.get<double>())) {
      return input_error("[plan] forecast " + name + ": is not a finite number");
    }
    forecast.set(name, value.get<double>());
  }
  return forecast;
}

nlohmann::ordered_json to_json(const Forecast& forecast) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const auto& [name, value] : forecast.values) json[name] = value;
  return json;
}

}  // namespace sparing
