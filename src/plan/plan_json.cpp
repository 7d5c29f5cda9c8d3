#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "base/atomic_file.h"
#include "plan/heal_spec.h"
#include "plan/plan.h"
#include "plan/plan_fields.h"
#include "plan/structure_spec.h"

namespace sparing {

using Json = nlohmann::ordered_json;

Error plan_error(const std::string& where, const std::string& what) {
  return input_error("[plan] " + where + ": " + what);
}

std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}
Status check_fields(const Json& object, const std::string& where, std::initializer_list<std::string_view> required,
                    std::initializer_list<std::string_view> optional) {
  if (!object.is_object()) return plan_error(where, shown(object) + " is not an object");
  for (const std::string_view name : required) {
    if (!object.contains(std::string(name))) return plan_error(where, "field '" + std::string(name) + "' is missing");
  }
  for (const auto& item : object.items()) {
    const auto is = [&](std::string_view name) { return name == item.key(); };
    if (!std::ranges::any_of(required, is) && !std::ranges::any_of(optional, is)) {
      return plan_error(where, "unknown field " + shown(item.key()) + ": remove it");
    }
  }
  return {};
}

namespace {

constexpr std::size_t kMostSites = 1'000'000;
constexpr std::int64_t kMostTokens = std::int64_t{1} << 40;

Result<std::string> text_of(const Json& value, const std::string& where, bool may_be_empty = false) {
  if (!value.is_string()) return plan_error(where, shown(value) + " is not a string");
  std::string text = value.get<std::string>();
  if (text.empty() && !may_be_empty) return plan_error(where, "is empty");
  if (text.find('\0') != std::string::npos) return plan_error(where, shown(value) + " contains a NUL");
  return text;
}

Result<std::uint64_t> count_of(const Json& value, const std::string& where) {
  if (!value.is_number_unsigned()) return plan_error(where, shown(value) + " is not a whole number of at least 0");
  return value.get<std::uint64_t>();
}

}  // namespace

Result<std::int64_t> tokens_of(const Json& value, const std::string& where) {
  SPARING_TRY(const std::uint64_t count, count_of(value, where));
  if (count > static_cast<std::uint64_t>(kMostTokens)) return plan_error(where, shown(value) + " is out of range");
  return static_cast<std::int64_t>(count);
}

Result<double> real_of(const Json& value, const std::string& where) {
  if (!value.is_number()) return plan_error(where, shown(value) + " is not a number");
  const double real = value.get<double>();
  if (!std::isfinite(real)) return plan_error(where, shown(value) + " is not finite");
  return real;
}

namespace {

Result<Costs> costs_of(const Json& value, const std::string& where) {
  SPARING_CHECK_OK(check_fields(value, where, {}, {kWeights, kRam, kTokenTime}));
  Costs costs;
  for (const auto& item : value.items()) {
    SPARING_TRY(const std::uint64_t amount, count_of(item.value(), where + " " + item.key()));
    costs[item.key()] = amount;
  }
  return costs;
}

}  // namespace

Result<ParamList> params_of(const Json& value, const std::string& where) {
  if (!value.is_object()) return plan_error(where, shown(value) + " is not an object");
  ParamList params;
  for (const auto& item : value.items()) {
    const Json& given = item.value();
    std::string text;
    if (given.is_boolean()) {
      text = given.get<bool>() ? "true" : "false";
    } else if (given.is_string()) {
      text = given.get<std::string>();
    } else if (given.is_number()) {
      text = given.dump();
    } else {
      return plan_error(where, shown(item.key()) + " is " + shown(given) + ": give a number, true, false or a string");
    }
    params.emplace_back(item.key(), std::move(text));
  }
  return params;
}

namespace {

bool is_sha256(const std::string& text) {
  return text.size() == 64 &&
         std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

}  // namespace

Result<CalibrationSpec> text_spec_of(const Json& value, const std::string& where) {
  CalibrationSpec spec;
  SPARING_TRY(spec.tokens, tokens_of(value["tokens"], where + " tokens"));
  SPARING_TRY(spec.length, tokens_of(value["length"], where + " length"));
  if (value.contains("self")) {
    if (!value["self"].is_boolean()) return plan_error(where, "self is " + shown(value["self"]) + ": true or false");
    spec.self = value["self"].get<bool>();
  }
  if (value.contains("files")) {
    if (!value["files"].is_array()) return plan_error(where, "files is " + shown(value["files"]) + ": give a list");
    for (const Json& entry : value["files"]) {
      SPARING_CHECK_OK(check_fields(entry, where + " file", {"path", "sha256"}, {}));
      CalibrationFile file;
      SPARING_TRY(file.path, text_of(entry["path"], where + " path"));
      SPARING_TRY(file.sha256, text_of(entry["sha256"], where + " sha256"));
      if (!is_sha256(file.sha256)) return plan_error(where, shown(file.sha256) + " is not a SHA-256 in hex");
      spec.files.push_back(std::move(file));
    }
  }
  if (spec.self && !spec.files.empty()) return plan_error(where, "self and files exclude each other: keep one");
  if (spec.tokens > 0 && spec.length == 0) return plan_error(where, "length 0: give the tokens of one sequence");
  if (spec.tokens > 0 && !spec.self && spec.files.empty()) {
    return plan_error(where, "no text: name files, or set self to true");
  }
  return spec;
}

namespace {

Result<CalibrationSpec> calibration_of(const Json& value) {
  const std::string where = "calibration";
  SPARING_CHECK_OK(check_fields(value, where, {"tokens", "length"}, {"self", "files"}));
  return text_spec_of(value, where);
}

Result<RunnerUp> runner_up_of(const Json& value, const std::string& where) {
  SPARING_CHECK_OK(check_fields(value, where, {"method", "params", "bytes", "damage"}, {}));
  RunnerUp next;
  SPARING_TRY(next.method, text_of(value["method"], where + " method"));
  SPARING_TRY(next.params, params_of(value["params"], where + " params"));
  SPARING_TRY(next.bytes, count_of(value["bytes"], where + " bytes"));
  SPARING_TRY(next.damage, real_of(value["damage"], where + " damage"));
  return next;
}

Result<SiteChoice> site_of(const Json& value, std::size_t number) {
  std::string where = "site " + std::to_string(number);
  SPARING_CHECK_OK(check_fields(value, where, {"site", "method"}, {"kind", "params", "costs", "damage", "runner_up"}));
  SiteChoice site;
  SPARING_TRY(site.site, text_of(value["site"], where));
  where = "site " + shown(site.site);
  SPARING_TRY(site.method, text_of(value["method"], where + " method"));
  if (value.contains("kind")) {
    SPARING_TRY(site.kind, text_of(value["kind"], where + " kind"));
  }
  if (value.contains("params")) {
    SPARING_TRY(site.params, params_of(value["params"], where + " params"));
  }
  if (value.contains("costs")) {
    SPARING_TRY(site.costs, costs_of(value["costs"], where + " costs"));
  }
  if (value.contains("damage")) {
    SPARING_TRY(site.damage, real_of(value["damage"], where + " damage"));
  }
  if (value.contains("runner_up")) {
    SPARING_TRY(site.runner_up, runner_up_of(value["runner_up"], where + " runner_up"));
  }
  return site;
}

/// A number or a word of a choice, as JSON writes it: bits is 4, not "4".
Json plain_value(const std::string& text) {
  if (text == "true") return true;
  if (text == "false") return false;
  const Json parsed = Json::parse(text, nullptr, false);
  // Only where the number reads back as the same text; "1e2" or "007" stay strings.
  if (parsed.is_number() && parsed.dump() == text) return parsed;
  return text;
}

}  // namespace

Json params_object(const ParamList& params) {
  Json object = Json::object();
  for (const auto& [name, value] : params) object[name] = plain_value(value);
  return object;
}

namespace {

Json costs_object(const Costs& costs) {
  Json object = Json::object();
  for (const auto& [resource, amount] : costs) object[resource] = amount;
  return object;
}

}  // namespace

Json text_spec_to_json(const CalibrationSpec& spec) {
  Json files = Json::array();
  for (const CalibrationFile& file : spec.files) {
    files.push_back({{"path", file.path}, {"sha256", file.sha256}});
  }
  return {{"self", spec.self}, {"files", std::move(files)}, {"tokens", spec.tokens}, {"length", spec.length}};
}

Json text_recipe(const CalibrationSpec& spec) {
  Json texts = Json::array();
  for (const CalibrationFile& file : spec.files) texts.push_back(file.sha256);
  return {{"self", spec.self}, {"texts", std::move(texts)}, {"tokens", spec.tokens}, {"length", spec.length}};
}

std::string plan_to_json(const Plan& plan) {
  Json totals = costs_object(plan.totals);
  if (plan.damage) totals["damage"] = *plan.damage;

  const auto line = [](const char* name, const Json& value) {
    return std::string(" \"") + name + "\": " + value.dump(-1, ' ', false, Json::error_handler_t::replace) + ",\n";
  };
  std::string text = "{\n";
  text += line("version", kPlanVersion);
  text += line("model", plan.model);
  text += line("model_hash", plan.model_hash);
  text += line("seed", plan.seed);
  text += line("budgets", costs_object(plan.budgets));
  text += line("calibration", text_spec_to_json(plan.calibration));
  if (plan.structure) text += line("structure", structure_to_json(*plan.structure));
  if (plan.heal) text += line("heal", heal_to_json(*plan.heal));
  text += line("totals", totals);
  if (plan.context > 0) text += line("context", plan.context);
  if (plan.activation_bits != 0) text += line("activation_bits", plan.activation_bits);
  if (!plan.forecast.values.empty()) text += line("forecast", to_json(plan.forecast));
  text += " \"sites\": [";
  for (std::size_t i = 0; i < plan.sites.size(); ++i) {
    const SiteChoice& site = plan.sites[i];
    Json entry = {
        {"site", site.site}, {"kind", site.kind}, {"method", site.method}, {"params", params_object(site.params)}};
    entry["costs"] = costs_object(site.costs);
    if (site.damage) entry["damage"] = *site.damage;
    if (site.runner_up) {
      entry["runner_up"] = {{"method", site.runner_up->method},
                            {"params", params_object(site.runner_up->params)},
                            {"bytes", site.runner_up->bytes},
                            {"damage", site.runner_up->damage}};
    }
    text += (i == 0 ? "\n  " : ",\n  ") + entry.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  text += "\n ]\n}\n";
  return text;
}

Result<Plan> plan_from_json(std::string_view text) {
  // Depth is bounded before parsing: nlohmann's parser is iterative but its destructor and dump recurse.
  int depth = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (quoted) {
      if (text[i] == '\\') ++i;
      if (i < text.size() && text[i] == '"') quoted = false;
    } else if (text[i] == '"') {
      quoted = true;
    } else if (text[i] == '[' || text[i] == '{') {
      if (++depth > 16) return plan_error("JSON", "nested deeper than 16 levels");
    } else if (text[i] == ']' || text[i] == '}') {
      --depth;
    }
  }
  const Json root = Json::parse(text, nullptr, false);
  if (root.is_discarded()) return plan_error("JSON", "does not parse: check commas and quotes");
  if (!root.is_object()) return plan_error("JSON", shown(root) + " is not an object");
  if (!root.contains("version")) return plan_error("version", "is missing: write 1");
  SPARING_TRY(const std::uint64_t version, count_of(root["version"], "version"));
  if (version != kPlanVersion) {
    return plan_error("version", std::to_string(version) + " is unknown: this build reads version 1");
  }
  SPARING_CHECK_OK(check_fields(root, "top level", {"version", "model_hash", "sites"},
                                {"model", "seed", "budgets", "calibration", "structure", "heal", "totals", "context",
                                 "forecast", "activation_bits"}));
  Plan plan;
  SPARING_TRY(plan.model_hash, text_of(root["model_hash"], "model_hash"));
  if (root.contains("model")) {
    SPARING_TRY(plan.model, text_of(root["model"], "model", true));
  }
  if (root.contains("seed")) {
    SPARING_TRY(plan.seed, count_of(root["seed"], "seed"));
  }
  if (root.contains("budgets")) {
    SPARING_TRY(plan.budgets, costs_of(root["budgets"], "budgets"));
  }
  if (root.contains("calibration")) {
    SPARING_TRY(plan.calibration, calibration_of(root["calibration"]));
  }
  if (root.contains("structure")) {
    SPARING_TRY(plan.structure, structure_from_json(root["structure"]));
  }
  if (root.contains("heal")) {
    SPARING_TRY(plan.heal, heal_from_json(root["heal"]));
  }
  if (root.contains("context")) {
    SPARING_TRY(plan.context, tokens_of(root["context"], "context"));
  }
  if (root.contains("activation_bits")) {
    SPARING_TRY(const std::int64_t bits, tokens_of(root["activation_bits"], "activation_bits"));
    if (bits != 0 && bits != 16) return plan_error("activation_bits", std::to_string(bits) + ": 16, or 0 for none");
    plan.activation_bits = static_cast<std::int32_t>(bits);
  }
  if (root.contains("forecast")) {
    SPARING_TRY(plan.forecast, forecast_from_json(root["forecast"]));
  }
  if (root.contains("totals")) {
    Json totals = root["totals"];
    if (totals.is_object() && totals.contains("damage")) {
      SPARING_TRY(plan.damage, real_of(totals["damage"], "totals damage"));
      totals.erase("damage");
    }
    SPARING_TRY(plan.totals, costs_of(totals, "totals"));
  }
  const Json& sites = root["sites"];
  if (!sites.is_array()) return plan_error("sites", shown(sites) + " is not a list");
  if (sites.size() > kMostSites) return plan_error("sites", std::to_string(sites.size()) + " are too many");
  std::set<std::string> seen;
  for (std::size_t i = 0; i < sites.size(); ++i) {
    SPARING_TRY(SiteChoice site, site_of(sites[i], i + 1));
    if (!seen.insert(site.site).second) return plan_error("site " + shown(site.site), "is listed twice: keep one");
    plan.sites.push_back(std::move(site));
  }
  return plan;
}

Result<Plan> read_plan(const std::string& path) {
  SPARING_TRY(const std::string text, read_text_file(path, std::uint64_t{1} << 28));
  auto plan = plan_from_json(text);
  if (plan.ok()) return plan;
  Error error = plan.error();
  const std::string lead = "[plan] ";
  error.message = lead + path + ": " + error.message.substr(lead.size());
  return error;
}

}  // namespace sparing
