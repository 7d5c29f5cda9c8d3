#include "cli/plan_args.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "base/jobs.h"
#include "base/units.h"
#include "lab/sensitivity.h"
#include "plan/code_calibrated.h"
#include "plan/heal_spec.h"
#include "plan/heal_stage.h"
#include "plan/share_out.h"
#include "plan/structure_spec.h"

namespace sparing::cli {
namespace {

constexpr std::int32_t kEmbedBits = 8, kBits = 4;

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

constexpr std::string_view kNoHealing = "none";
constexpr std::string_view kPruneAsWorth = "auto", kNoPruning = "none";

bool is_word(const std::vector<std::string>& prune, std::string_view word) {
  return prune.size() == 1 && prune.front() == word;
}

/// What is taken out, as asked; nothing where that is left to the solver, or nothing is.
Result<std::optional<StructureSpec>> structure_spec(const PlanArgs& o, const CalibrationSpec& text,
                                                    const ModelConfig& config) {
  std::optional<StructureSpec> spec;
  if (o.prune.empty() || is_word(o.prune, kPruneAsWorth) || is_word(o.prune, kNoPruning)) return spec;
  StructureSpec asked{o.prune_method, {}, text, {}};
  SPARING_TRY(asked.layers, parse_prune(o.prune, config));
  if (!asked.layers.empty()) spec = std::move(asked);
  return spec;
}

HealSpec heal_on(const CalibrationSpec& text, const std::string& device) {
  HealSpec heal;
  heal.text = text;
  heal.bf16 = heals_fast_in_bf16(device);
  return heal;
}

/// Each step adds noise of about its rate to every parameter: over so many tokens it grows as their root, so that fewer
/// allow larger steps. Four decimals, so that a recipe takes no more room whatever comes out.
void set_rates(HealSpec& heal) {
  constexpr double kLeast = 0.0003, kMost = 0.002, kTokens = 262'144;
  const double rate = kLeast * std::sqrt(kTokens / static_cast<double>(std::max<std::int64_t>(heal.text.tokens, 1)));
  heal.scale_rate = heal.vector_rate = std::round(std::clamp(rate, kLeast, kMost) * 1e4) / 1e4;
}

/// How to heal, as asked; nothing where that is not asked.
Result<std::optional<HealSpec>> heal_spec(const PlanArgs& o, const CalibrationSpec& text, const Assembler& assembler,
                                          Journal& journal, const ExecuteOptions& execution) {
  std::optional<HealSpec> spec;
  if (o.heal.empty() || o.heal == kNoHealing) return spec;
  SPARING_TRY(const auto asked, parse_heal(o.heal));
  spec = heal_on(text, execution.device);
  if (const auto* time = std::get_if<HealTime>(&asked)) {
    SPARING_TRY(spec->text.tokens, heal_tokens_for(time->seconds, *spec, assembler, &journal, execution));
  } else {
    spec->text.tokens = std::max(std::get<HealTokens>(asked).tokens, spec->text.length);
  }
  set_rates(*spec);
  return spec;
}

/// Tokens that take more digits than any count there will be: room in the directory's recipe for a count that is only
/// known once the plan is.
constexpr std::int64_t kUnknownTokens = 999'999'999'999;

/// That a --fit heals on unless told; for larger models fewer, by as much as each token takes longer.
std::int64_t default_heal_tokens(const Checkpoint& checkpoint) {
  constexpr double kTokens = 262'144, kParameters = 134.5e6;
  double parameters = 0;
  for (const SiteInfo& site : weight_sites(checkpoint)) parameters += static_cast<double>(site.rows * site.cols);
  return static_cast<std::int64_t>(kTokens * std::min(1.0, kParameters / parameters));
}

/// What is left of the time that compressing may take goes into healing.
Status heal_in_time(Plan& plan, double left, const Assembler& assembler, Journal& journal,
                    const ExecuteOptions& execution) {
  if (!plan.heal || plan.heal->text.tokens != kUnknownTokens) return {};
  HealSpec heal = std::move(*plan.heal);
  plan.heal.reset();
  if (left <= 0) return {};
  SPARING_TRY(heal.text.tokens, heal_tokens_for(left, heal, assembler, &journal, execution));
  set_rates(heal);
  plan.heal = std::move(heal);
  return {};
}

/// bits and group go in front of what --param adds, where the method has them.
Result<Setting> with_rate(Setting setting, std::optional<std::int32_t> bits, std::optional<std::int32_t> group,
                          std::int32_t default_bits) {
  if (setting.method == kKeep) return setting;
  SPARING_TRY(const Method* method, find_method(setting.method));
  if (method->finds_rate) {
    if (bits || group)
      return usage_error("[compress] " + setting.method +
                         " finds bits and group in the weights themselves: leave them out, or edit a plan (--dry-run)");
    return setting;
  }
  const auto put = [&](const std::string& name, std::optional<std::int32_t> given,
                       std::optional<std::int32_t> otherwise) -> Status {
    if (!given && !otherwise) return {};
    if (!has_param(*method, name)) {
      if (!given) return {};
      return usage_error("[compress] --" + name + ": " + setting.method + " has no such parameter; 'sparing methods " +
                         setting.method + "' lists those that it has");
    }
    setting.params.insert(setting.params.begin(), {name, std::to_string(given ? *given : *otherwise)});
    return {};
  };
  SPARING_CHECK_OK(put("group", group, {}));
  SPARING_CHECK_OK(put("bits", bits, default_bits));
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
  if (!args.heal.empty() && args.heal != kNoHealing) SPARING_CHECK_OK(parse_heal(args.heal));
  if (is_word(args.prune, kPruneAsWorth) && args.fit.empty())
    return usage_error("[" + command + "] --prune auto goes with --fit: say what stays, as in 'layers.*.mlp=1408'");
  SPARING_TRY(const Method* pruner, find_method(args.prune_method));
  if (pruner->rank == nullptr)
    return usage_error("[" + command + "] --prune-method " + args.prune_method +
                       " takes nothing out: 'sparing methods' lists those of structure");
  return {};
}

ExecuteOptions lab_execution(const Session& session) {
  ExecuteOptions execution;
  execution.threads = session.common.threads;
  execution.jobs = threads_each(session.common.threads, 1);
  execution.code_calibrated = code_calibrated;
  execution.heal = heal_plan;
  execution.calibrate = calibrate;
  execution.sensitivity = measure_sensitivity;
  return execution;
}

Result<ExecuteOptions> execution_of(const PlanArgs& args, const Session& session,
                                    const std::filesystem::path& scratch) {
  ExecuteOptions execution = lab_execution(session);
  SPARING_CHECK_OK(check_device(args.device));
  execution.device = args.device;
  if (args.jobs > 0) execution.jobs = args.jobs;
  if (args.max_ram.empty()) return execution;
  SPARING_TRY(execution.max_ram, parse_bytes(args.max_ram));
  execution.scratch = scratch.empty() ? "." : scratch;
  return execution;
}

Result<Plan> make_plan(const PlanArgs& o, const Session& session, const Assembler& assembler, Journal& journal,
                       const ExecuteOptions& execution) {
  SPARING_TRY(ComposeRequest request, compose_request(o, session, assembler.checkpoint().config()));
  SPARING_TRY(request.structure, structure_spec(o, request.calibration, assembler.checkpoint().config()));
  SPARING_TRY(request.heal, heal_spec(o, request.calibration, assembler, journal, execution));
  if (o.fit.empty()) {
    SPARING_TRY(request.linear, with_rate(std::move(request.linear), o.bits, o.group, kBits));
    SPARING_TRY(request.embedding, with_rate(std::move(request.embedding), o.embed_bits, o.embed_group, kEmbedBits));
    SPARING_TRY(const Assembler thinned, assembler_for(request.structure, assembler, request.seed, journal, execution));
    SPARING_TRY(Plan plan, compose_plan(request, thinned.checkpoint(), assembler.model_hash()));
    SPARING_CHECK_OK(share_out(plan, thinned, &journal, execution));
    plan.model = assembler.original().path().filename().string();
    return plan;
  }
  FitRequest fit;
  if (is_word(o.prune, kPruneAsWorth)) fit.structure_method = o.prune_method;
  SPARING_TRY(fit.budgets, parse_fit(o.fit));
  fit.methods = names_of(o.method);
  fit.embed_methods = names_of(o.embed_method);
  fit.generations = o.generations;
  fit.bits = o.bits;
  fit.group = o.group;
  fit.embed_bits = o.embed_bits;
  fit.embed_group = o.embed_group;
  // By default for the time that is left, or on as much as a model of this size is worth.
  if (o.heal.empty()) {
    request.heal = heal_on(request.calibration, execution.device);
    if (!request.calibration.self) {
      request.heal->text.tokens = std::max(o.calib_tokens, default_heal_tokens(assembler.checkpoint()));
    }
    set_rates(*request.heal);
    if (fit.budgets.time > 0) request.heal->text.tokens = kUnknownTokens;
  }
  fit.base = std::move(request);
  const auto start = std::chrono::steady_clock::now();
  SPARING_TRY(Plan plan, sparing::fit(fit, assembler, journal, execution));
  if (o.heal.empty() && plan.activation_bits == 16) plan.heal.reset();  // hardly anything is lost
  const double spent = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const double coding = plan.forecast.has(kCodingSeconds) ? plan.forecast.at(kCodingSeconds) : 0;
  SPARING_CHECK_OK(heal_in_time(plan, fit.budgets.time - spent - coding, assembler, journal, execution));
  if (plan.heal) {
    SPARING_TRY(const double healing, heal_seconds_of(*plan.heal, assembler, journal, execution));
    plan.forecast.set(kHealSeconds, healing);
  }
  return plan;
}

CLI::Option* add_device(CLI::App* command, std::string& device) {
  return command->add_option("--device", device, "Where calibration and training compute: cpu, cuda, cuda:1, ...")
      ->type_name("NAME")
      ->capture_default_str();
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
  command->add_option("--group", args.group, "Inputs per scale; the method's default unless --fit chooses")
      ->type_name("N")
      ->group(goal);
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
  command->add_option("--embed-group", args.embed_group, "Inputs per scale of embedding and head; likewise")
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
  command
      ->add_option(
          "--prune", args.prune,
          "Before coding, take out all but so many channels (layers.*.mlp=1408) or key-value heads "
          "(layers.2.attn=2), or a layer (layers.7=0); repeatable. With --fit also auto: what is not worth its "
          "bytes")
      ->type_name("PLACE=KEPT|auto|none")
      ->allow_extra_args(false)
      ->group(goal);
  command->add_option("--prune-method", args.prune_method, "Which of them go first: ziplm, modegpt")
      ->type_name("NAME")
      ->capture_default_str()
      ->group(goal);
  command->add_option("--search", args.generations, "With --fit: generations of search on true damage after solving")
      ->type_name("N")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{100'000}))
      ->capture_default_str()
      ->group(goal);
  command
      ->add_option(
          "--heal", args.heal,
          "After coding, train scales and norms towards the original on so many tokens of the calibration "
          "text, or for about so long. By default --fit does, on 262144 tokens or, above 135 million parameters, "
          "fewer (on text of its own as many as it calibrates on); others do not")
      ->type_name("TOKENS|time=TIME|none")
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
  command
      ->add_option(
          "--jobs", args.jobs,
          "Most sites coded at once where they do not depend on each other, each by its share of the threads (more "
          "take more memory and give the same bits); 0: as many as threads")
      ->type_name("N")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str()
      ->group("Files and resources");
  command->add_option("--max-ram", args.max_ram, "Spill calibration's activations to a file beyond this")
      ->type_name("SIZE")
      ->group("Files and resources");
  add_device(command, args.device)->group("Files and resources");
}

}  // namespace sparing::cli
