#include "plan/heal_spec.h"

#include <charconv>

#include "base/units.h"
#include "plan/plan_fields.h"

namespace sparing {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kMostBatch = 4096;
constexpr std::int64_t kMostTokens = std::int64_t{1} << 40;

Result<double> rate_of(const Json& value, const std::string& name, double most) {
  SPARING_TRY(const double rate, real_of(value, "heal " + name));
  if (rate < 0 || rate > most)
    return plan_error("heal " + name, shown(value) + " is out of range: 0 to " + Json(most).dump());
  return rate;
}

Json settings_of(const HealSpec& spec) {
  return {{"batch", spec.batch},
          {"scale_rate", spec.scale_rate},
          {"vector_rate", spec.vector_rate},
          {"code_rate", spec.code_rate},
          {"stop", spec.stop},
          {"products", spec.bf16 ? "bf16" : "f32"}};
}

}  // namespace

Json heal_to_json(const HealSpec& spec) {
  Json json = text_spec_to_json(spec.text);
  json.update(settings_of(spec));
  return json;
}

Json heal_recipe(const HealSpec& spec) {
  Json json = text_recipe(spec.text);
  json.update(settings_of(spec));
  return json;
}

Result<HealSpec> heal_from_json(const Json& value) {
  const std::string where = "heal";
  SPARING_CHECK_OK(
      check_fields(value, where, {"tokens", "length"},
                   {"self", "files", "batch", "scale_rate", "vector_rate", "code_rate", "stop", "products"}));
  HealSpec spec;
  SPARING_TRY(spec.text, text_spec_of(value, where));
  if (spec.text.tokens == 0) return plan_error("heal tokens", "0: leave the section out, or say how many");
  if (spec.text.length < 2) return plan_error("heal length", shown(value["length"]) + " is too short: at least 2");
  if (value.contains("batch")) {
    SPARING_TRY(spec.batch, tokens_of(value["batch"], "heal batch"));
    if (spec.batch < 1 || spec.batch > kMostBatch)
      return plan_error("heal batch", shown(value["batch"]) + " is out of range: 1 to " + std::to_string(kMostBatch));
  }
  if (value.contains("scale_rate")) {
    SPARING_TRY(spec.scale_rate, rate_of(value["scale_rate"], "scale_rate", 1));
  }
  if (value.contains("vector_rate")) {
    SPARING_TRY(spec.vector_rate, rate_of(value["vector_rate"], "vector_rate", 1));
  }
  if (value.contains("code_rate")) {
    SPARING_TRY(spec.code_rate, rate_of(value["code_rate"], "code_rate", 1));
  }
  if (value.contains("stop")) {
    SPARING_TRY(spec.stop, rate_of(value["stop"], "stop", 1000));
  }
  if (value.contains("products")) {
    const Json& products = value["products"];
    if (products != "bf16" && products != "f32")
      return plan_error("heal products", shown(products) + " is neither bf16 nor f32");
    spec.bf16 = products == "bf16";
  }
  return spec;
}

Result<std::variant<HealTokens, HealTime>> parse_heal(const std::string& text) {
  const auto refused = [&](const std::string& why) {
    return usage_error("[compress] --heal '" + text + "': " + why + "; write --heal 51200 or --heal time=10min");
  };
  if (text.starts_with("time=")) {
    const auto seconds = parse_seconds(text.substr(5));
    if (!seconds) return refused("that is no time");
    if (*seconds <= 0) return refused("no time heals nothing");
    return std::variant<HealTokens, HealTime>(HealTime{*seconds});
  }
  std::int64_t tokens = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), tokens);
  if (read.ec != std::errc() || read.ptr != text.data() + text.size()) return refused("that is no count of tokens");
  if (tokens < 1 || tokens > kMostTokens) return refused("out of range");
  return std::variant<HealTokens, HealTime>(HealTokens{tokens});
}

}  // namespace sparing
