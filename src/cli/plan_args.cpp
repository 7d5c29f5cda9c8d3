#include "cli/plan_args.h"

#include "base/units.h"
#include "lab/sensitivity.h"
#include "plan/code_calibrated.h"

namespace sparing::cli {
namespace {

constexpr std::int32_t kEmbedBits = 8, kGroup = 64, kBits = 4;

/// "gptq|rtn"
std::vector<std::string> names_of(const std::string& text) {
  std::vector<std::string> names;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('|', begin), text.size());
    names.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return names;
}

Result<ComposeRequest> compose_request(const PlanArgs& o, const Session& session, const ModelConfig& config) {
  ComposeRequest request;
  for (const std::string& text : o.params) {
    SPARING_TRY(auto param, parse_param(text));
    request.linear.params.push_back(std::move(param));
  }
  request.linear.method = o.method;
  request.embedding.method = o.embed_method.empty() ? "rtn" : o.embed_method;
  for (const std::string& text : o.sites) {
    SPARING_TRY(SiteOverride change, parse_override(text));
    request.overrides.push_back(std::move(change));
  }
  request.seed = session.common.seed;
  SPARING_TRY(request.calibration, describe_calibration(o.calib.empty() ? std::vector<std::string>{"self"} : o.calib,
                                                        o.calib_tokens, o.calib_length, config));
  return request;
}

/// bits and group go in front of what --param adds.
Setting with_rate(Setting setting, std::int32_t bits, std::int32_t group) {
  if (setting.method == kKeep) return setting;
  setting.params.insert(setting.params.begin(), {{"bits", std::to_string(bits)}, {"group", std::to_string(group)}});
  return setting;
}

}  // namespace

Status check_plan_args(const PlanArgs& args, const std::string& command) {
  if (args.fit.empty() && args.method.empty()) {
    return usage_error("[" + command + "] nothing to do: give --method (gptq, rtn, ...) or --fit weights=72MiB" +
                       (command == "compress" ? ", or --plan FILE" : ""));
  }
  for (const std::string& text : {args.method, args.embed_method}) {
    const auto names = names_of(text);
    if (args.fit.empty() && names.size() > 1) {
      return usage_error("[" + command + "] " + text + ": several methods go with --fit");
    }
    for (const std::string& name : names) {
      if (name != kKeep) SPARING_CHECK_OK(find_method(name));
    }
  }
  if (!args.fit.empty()) SPARING_CHECK_OK(parse_fit(args.fit));
  return {};
}

Result<ExecuteOptions> execution_of(const PlanArgs& args, const Session& session,
                                    const std::filesystem::path& scratch) {
  ExecuteOptions execution;
  execution.threads = session.common.threads;
  execution.code_calibrated = code_calibrated;
  execution.calibrate = calibrate;
  execution.sensitivity = measure_sensitivity;
  if (args.max_ram.empty()) return execution;
  SPARING_TRY(execution.max_ram, parse_bytes(args.max_ram));
  execution.scratch = scratch.empty() ? "." : scratch;
  return execution;
}

Result<Plan> make_plan(const PlanArgs& o, const Session& session, const Assembler& assembler, Journal& journal,
                       const ExecuteOptions& execution) {
  SPARING_TRY(ComposeRequest request, compose_request(o, session, assembler.checkpoint().config()));
  if (o.fit.empty()) {
    request.linear = with_rate(std::move(request.linear), o.bits.value_or(kBits), o.group.value_or(kGroup));
    request.embedding =
        with_rate(std::move(request.embedding), o.embed_bits.value_or(kEmbedBits), o.embed_group.value_or(kGroup));
    return compose_plan(request, assembler.checkpoint(), assembler.model_hash());
  }
  FitRequest fit;
  SPARING_TRY(fit.budgets, parse_fit(o.fit));
  fit.methods = names_of(o.method);
  fit.embed_methods = names_of(o.embed_method);
  fit.generations = o.generations;
  fit.bits = o.bits;
  fit.group = o.group;
  fit.embed_bits = o.embed_bits;
  fit.embed_group = o.embed_group;
  fit.base = std::move(request);
  return sparing::fit(fit, assembler, journal, execution);
}

void add_plan_args(CLI::App* command, PlanArgs& args) {
  add_model(command, args.source);
  const std::string goal = "What to do", text = "Calibration";
  command
      ->add_option(
          "--fit", args.fit,
          "Least damage within budgets: bytes of the finished directory, memory when it runs, speed, time to make it")
      ->type_name("weights=SIZE,ram=SIZE@CONTEXT,speed=RATE,time=TIME")
      ->group(goal);
  command
      ->add_option("--method", args.method,
                   "Method for the linear weights ('sparing methods' lists them); with --fit several, as in 'gptq|rtn'")
      ->type_name("NAME")
      ->group(goal);
  command->add_option("--bits", args.bits, "Bits per weight; 4 unless --fit chooses")->type_name("N")->group(goal);
  command->add_option("--group", args.group, "Inputs per scale; 64 unless --fit chooses")->type_name("N")->group(goal);
  command->add_option("--param", args.params, "A parameter of the method, as in --param damping=0.02; repeatable")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false)
      ->group(goal);
  command
      ->add_option("--embed-method", args.embed_method,
                   "Method for embedding and head, or keep; rtn unless --fit chooses")
      ->type_name("NAME")
      ->group(goal);
  command->add_option("--embed-bits", args.embed_bits, "Bits of embedding and head; 8 unless --fit chooses")
      ->type_name("N")
      ->group(goal);
  command
      ->add_option("--embed-group", args.embed_group, "Inputs per scale of embedding and head; 64 unless --fit chooses")
      ->type_name("N")
      ->group(goal);
  command
      ->add_option(
          "--site", args.sites,
          "Other settings for sites that a pattern matches; method is a setting; repeatable. With --fit limits: "
          "bits=3..6, group=32|64, method=!rtn")
      ->type_name("PATTERN:NAME=VALUE,...")
      ->allow_extra_args(false)
      ->group(goal);
  command->add_option("--search", args.generations, "With --fit: generations of search on true damage after solving")
      ->type_name("N")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{100'000}))
      ->capture_default_str()
      ->group(goal);
  command->add_option("--calib", args.calib, "Text file, repeatable; or self: text that the model samples [self]")
      ->type_name("FILE|self")
      ->allow_extra_args(false)
      ->group(text);
  command->add_option("--calib-tokens", args.calib_tokens, "Tokens to calibrate on")
      ->type_name("N")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40))
      ->capture_default_str()
      ->group(text);
  command->add_option("--calib-length", args.calib_length, "Tokens of one sequence")
      ->type_name("N")
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 20))
      ->capture_default_str()
      ->group(text);
  command->add_option("--max-ram", args.max_ram, "Spill calibration's activations to a file beyond this")
      ->type_name("SIZE")
      ->group("Files and resources");
}

}  // namespace sparing::cli
