#include "methods/method.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/table.h"
#include "eval/claim_result.h"

namespace sparing::cli {
namespace {

struct Page {
  std::string_view method, text;
};
// src/methods/KIND/ID.md of every method, made by CMake.
constexpr Page kPages[] = {
#include "method_pages.inc"
};

std::string_view page_of(std::string_view method) {
  std::string id(method);  // as files are called: pv-tuning's is pv_tuning
  std::replace(id.begin(), id.end(), '-', '_');
  for (const Page& page : kPages) {
    if (page.method == id) return page.text;
  }
  return {};
}

struct Axis {
  const char* name;
  std::string_view MethodTraits::*value;
  const char* heading;
};
constexpr Axis kAxes[] = {
    {"compressed", &MethodTraits::compressed, "What is made smaller"},
    {"deploy", &MethodTraits::deploy, "Survey of on-device deployment"},
    {"prune", &MethodTraits::prune, "Survey of pruning"},
    {"peft", &MethodTraits::peft, "Survey of parameter-efficient tuning"},
    {"calibration", &MethodTraits::calibration, "What it needs of calibration"},
};

std::string_view type_name(ParamSpec::Type type) {
  switch (type) {
    case ParamSpec::Type::integer:
      return "integer";
    case ParamSpec::Type::real:
      return "real";
    case ParamSpec::Type::boolean:
      return "boolean";
    case ParamSpec::Type::choice:
      return "choice";
  }
  return "?";
}

nlohmann::json default_of(const ParamSpec& param) {
  switch (param.type) {
    case ParamSpec::Type::integer:
      return static_cast<std::int64_t>(param.default_value);
    case ParamSpec::Type::real:
      return param.default_value;
    case ParamSpec::Type::boolean:
      return param.default_value != 0;
    case ParamSpec::Type::choice:
      return param.choices[static_cast<std::size_t>(param.default_value)];
  }
  return nullptr;
}

nlohmann::json param_json(const ParamSpec& param) {
  nlohmann::json json = {
      {"name", param.name}, {"type", type_name(param.type)}, {"default", default_of(param)}, {"help", param.help}};
  if (param.type == ParamSpec::Type::integer || param.type == ParamSpec::Type::real) {
    json["min"] = param.min;
    json["max"] = param.max;
  }
  if (param.type == ParamSpec::Type::choice) json["choices"] = param.choices;
  return json;
}

/// Results of `sparing claims`, those of one method.
std::vector<const ClaimResult*> claims_of(const Method& method, const ClaimFolder& folder) {
  std::vector<const ClaimResult*> found;
  for (const ClaimResult& result : folder.results) {
    if (result.method == method.name) found.push_back(&result);
  }
  return found;
}

/// "2 of 3 claims hold", or empty where none has been run.
std::string verdict(const std::vector<const ClaimResult*>& results) {
  if (results.empty()) return {};
  const auto passed = std::count_if(results.begin(), results.end(), [](const ClaimResult* r) { return r->pass; });
  return std::to_string(passed) + " of " + std::to_string(results.size()) +
         (results.size() == 1 ? " claim holds" : " claims hold");
}

nlohmann::json claims_json(const std::vector<const ClaimResult*>& results) {
  nlohmann::json list = nlohmann::json::array();
  for (const ClaimResult* r : results) {
    const auto mean = [](const ClaimedSide& side) {
      return side.values.empty() ? nlohmann::json(nullptr) : nlohmann::json(over_seeds(side.values).value);
    };
    list.push_back({{"id", r->id},
                    {"model", r->model},
                    {"ours", mean(r->ours)},
                    {"baseline", mean(r->baseline)},
                    {"metric", r->metric},
                    {"pass", r->pass},
                    {"reason", r->reason}});
  }
  return list;
}

nlohmann::json method_json(const Method& method, const ClaimFolder& folder, bool with_page) {
  nlohmann::json json = {
      {"id", method.name},     {"kind", name_of(method.kind)},      {"summary", method.summary},
      {"paper", method.paper}, {"approximate", method.approximate}, {"params", nlohmann::json::array()}};
  for (const Axis& axis : kAxes) json[axis.name] = method.traits.*axis.value;
  for (const ParamSpec& param : method.params) json["params"].push_back(param_json(param));
  json["claims"] = claims_json(claims_of(method, folder));
  if (with_page) json["page"] = page_of(method.name);
  return json;
}

std::string value_text(const nlohmann::json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::string range_text(const ParamSpec& param) {
  switch (param.type) {
    case ParamSpec::Type::integer:
      return fixed(param.min, 0) + " .. " + fixed(param.max, 0);
    case ParamSpec::Type::real:
      return nlohmann::json(param.min).dump() + " .. " + nlohmann::json(param.max).dump();
    case ParamSpec::Type::boolean:
      return "true, false";
    case ParamSpec::Type::choice: {
      std::string text;
      for (const std::string_view choice : param.choices) text += (text.empty() ? "" : ", ") + std::string(choice);
      return text;
    }
  }
  return {};
}

std::string one_method(const Method& method, const ClaimFolder& folder) {
  std::string out = std::string(method.name) + " (" + std::string(name_of(method.kind)) + ", " +
                    std::string(method.paper) + ")\n" + std::string(method.summary) + ".\n";
  if (method.approximate) out += "A constant of it is uncertain in the sources.\n";
  out += "\n";
  for (const Axis& axis : kAxes) {
    out += std::string(axis.heading) + ": " + std::string(method.traits.*axis.value) + "\n";
  }
  Table params({"parameter", "default", "values", "meaning"});
  for (const ParamSpec& param : method.params) {
    params.row({std::string(param.name), value_text(default_of(param)), range_text(param), std::string(param.help)});
  }
  if (!method.params.empty()) out += "\n" + params.text();
  const auto claims = claims_of(method, folder);
  if (!claims.empty()) {
    Table table({"claim", "model", "verdict", "why"});
    for (const ClaimResult* r : claims) table.row({r->id, r->model, r->pass ? "holds" : "fails", r->reason});
    out += "\n" + table.text();
  }
  const std::string_view page = page_of(method.name);
  return page.empty() ? out : out + "\n" + std::string(page);
}

/// Methods under a heading for each value of the axis (or kind).
std::string all_by(const std::string& by, const ClaimFolder& folder) {
  std::map<std::string, std::vector<const Method*>> groups;
  const Axis* chosen = nullptr;
  for (const Axis& axis : kAxes) {
    if (by == axis.name) chosen = &axis;
  }
  for (const Method* method : all_methods()) {
    const std::string_view group = chosen != nullptr ? method->traits.*(chosen->value) : name_of(method->kind);
    groups[std::string(group)].push_back(method);
  }
  std::string out = chosen != nullptr ? std::string(chosen->heading) + "\n\n" : "";
  std::size_t width = 0;
  for (const Method* method : all_methods()) width = std::max(width, method->name.size());
  for (const auto& [group, methods] : groups) {
    out += group + "\n";
    for (const Method* method : methods) {
      out += "  " + std::string(method->name) + std::string(width - method->name.size() + 2, ' ') +
             std::string(method->summary) + " (" + std::string(method->paper) + ")";
      const std::string held = verdict(claims_of(*method, folder));
      out += (held.empty() ? "" : "; " + held) + "\n";
    }
  }
  return out + "\n'sparing methods NAME' shows a method's parameters and page.\n";
}

struct Options {
  std::string name, by = "kind", claims = "claims";
};

Status run_methods(const Options& options, const Session& session) {
  const ClaimFolder folder = read_claims(options.claims);
  if (!options.name.empty()) {
    SPARING_TRY(const Method* method, find_method(options.name));
    return session.common.json ? print_json(method_json(*method, folder, true)) : print(one_method(*method, folder));
  }
  if (!session.common.json) return print(all_by(options.by, folder));
  nlohmann::json list = nlohmann::json::array();
  for (const Method* method : all_methods()) list.push_back(method_json(*method, folder, false));
  return print_json(list);
}

}  // namespace

void register_methods(CLI::App& app, Session& session) {
  auto options = std::make_shared<Options>();
  CLI::App* command = add_command(
      app, session, kLookGroup, "methods", "List the compression methods, or explain one",
      {"sparing methods", "sparing methods --by calibration", "sparing methods gptq", "sparing methods --json"});
  command->add_option("NAME", options->name, "Explain this method: its parameters, its page");
  std::vector<std::string> axes = {"kind"};
  for (const Axis& axis : kAxes) axes.emplace_back(axis.name);
  command
      ->add_option("--by", options->by,
                   "Group by kind, or a survey's axis: compressed, deploy, prune, peft, calibration")
      ->type_name("AXIS")
      ->check(CLI::IsMember(axes))
      ->capture_default_str();
  command->add_option("--claims", options->claims, "Results of 'sparing claims' to show, if the folder is there")
      ->type_name("DIR")
      ->capture_default_str();
  on_chosen(command, session, [options, &session] { return run_methods(*options, session); });
}

}  // namespace sparing::cli
