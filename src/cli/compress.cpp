// sparing compress: makes a plan (from --method, --fit or --plan), shows it or carries it out. Part of sparing-lab.

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/interrupt.h"
#include "base/system.h"
#include "base/units.h"
#include "cli/app.h"
#include "cli/lab_commands.h"
#include "cli/model_args.h"
#include "cli/table.h"
#include "plan/code_calibrated.h"
#include "plan/fit.h"

namespace sparing::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr std::int32_t kEmbedBits = 8, kGroup = 64, kBits = 4;

struct Options {
  ModelArgs source;
  std::string out, method, fit, plan, embed_method = "rtn", max_ram;
  std::optional<std::int32_t> bits, group, embed_bits, embed_group;
  std::vector<std::string> params, sites, calib;
  std::int64_t calib_tokens = 32768, calib_length = 512;
  bool dry_run = false;
};

Status check_combination(const Options& o) {
  if (o.plan.empty() && o.fit.empty() && o.method.empty()) {
    return usage_error("[compress] nothing to do: give --method (gptq, rtn, ...), --fit weights=72MiB or --plan FILE");
  }
  if (!o.plan.empty()) {
    const bool more = !o.method.empty() || !o.fit.empty() || o.bits || o.group || o.embed_bits || o.embed_group ||
                      !o.params.empty() || !o.sites.empty() || !o.calib.empty();
    if (more) return usage_error("[compress] --plan says everything: give no method, rates or text beside it");
  }
  for (const std::string& name : {o.method, o.embed_method}) {
    if (!name.empty() && name != kKeep) SPARING_CHECK_OK(find_method(name));
  }
  if (!o.dry_run && o.out.empty()) return usage_error("[compress] --out: missing; name the directory to write");
  return {};
}

Result<ComposeRequest> compose_request(const Options& o, const Session& session, const ModelConfig& config) {
  ComposeRequest request;
  for (const std::string& text : o.params) {
    SPARING_TRY(auto param, parse_param(text));
    request.linear.params.push_back(std::move(param));
  }
  request.linear.method = o.method;
  request.embedding.method = o.embed_method;
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
  setting.params.insert(setting.params.begin(), {{"bits", std::to_string(bits.value_or(default_bits))},
                                                 {"group", std::to_string(group.value_or(kGroup))}});
  return setting;
}

Result<Plan> make_plan(const Options& o, const Session& session, const Assembler& assembler, Journal* journal,
                       const ExecuteOptions& execution) {
  if (!o.plan.empty()) return read_plan(o.plan);
  SPARING_TRY(ComposeRequest request, compose_request(o, session, assembler.checkpoint().config()));
  if (o.fit.empty()) {
    SPARING_TRY(request.linear, with_rate(std::move(request.linear), o.bits, o.group, kBits));
    SPARING_TRY(request.embedding, with_rate(std::move(request.embedding), o.embed_bits, o.embed_group, kEmbedBits));
    return compose_plan(request, assembler.checkpoint(), assembler.model_hash());
  }
  FitRequest fit;
  SPARING_TRY(fit.budget, parse_fit(o.fit));
  if (!o.method.empty()) fit.methods = {o.method};
  fit.bits = o.bits;
  fit.group = o.group;
  fit.embed_bits = o.embed_bits;
  fit.embed_group = o.embed_group;
  fit.base = std::move(request);
  return fit_uniform(fit, assembler, journal, execution);
}

std::string settings_text(const SiteChoice& site) {
  std::string text;
  for (const auto& [name, value] : site.params) {
    if (name == "bits" || name == "group") text += (text.empty() ? "" : " ") + name + "=" + value;
  }
  return text;
}

std::string plan_table(const Plan& plan, const std::vector<BoundSite>& sites, std::uint64_t source) {
  Table table({"site", ">rows", ">cols", "method", "setting", ">bytes"});
  for (std::size_t i = 0; i < sites.size(); ++i) {
    const SiteChoice& choice = plan.sites[i];
    table.row({choice.site, std::to_string(sites[i].site.rows), std::to_string(sites[i].site.cols), choice.method,
               settings_text(choice), format_count(choice.costs.at(std::string(kWeights)))});
  }
  const std::uint64_t total = plan.totals.at(std::string(kWeights)), of_sites = site_cost(plan, kWeights);
  table.rule();
  table.row({"sites", "", "", "", "", format_count(of_sites)});
  table.row({"norms, tokenizer, metadata", "", "", "", "", format_count(total - of_sites)});
  table.row({"finished directory", "", "", "", "", format_count(total)});
  for (const auto& [resource, limit] : plan.budgets) table.row({"budget", "", "", "", resource, format_count(limit)});
  table.row({"source", "", "", "", "", format_count(source)});
  std::string text = table.text();
  if (plan.calibration.tokens > 0) {
    text += "\nCalibration: " + format_count(static_cast<std::uint64_t>(plan.calibration.tokens)) + " tokens of ";
    if (plan.calibration.self) text += "the model's own text";
    for (std::size_t i = 0; i < plan.calibration.files.size(); ++i) {
      text += (i > 0 ? ", " : "") + plan.calibration.files[i].path;
    }
    text += ", sequences of " + std::to_string(plan.calibration.length) + ", seed " + std::to_string(plan.seed) + ".\n";
  }
  if (plan.damage) text += "\nMeasured damage of this setting (KL, short text): " + significant(*plan.damage) + ".\n";
  return text;
}

Json summary_json(const ExecuteSummary& summary, const Plan& plan, const Options& o, std::uint64_t source) {
  Json json = {{"out", o.out},
               {"bytes", summary.bytes},
               {"source_bytes", source},
               {"ratio", static_cast<double>(source) / static_cast<double>(summary.bytes)}};
  if (!plan.budgets.empty()) json["budgets"] = plan.budgets;
  json["ledger"] = summary.ledger;
  json["plan_hash"] = plan_hash(plan);
  json["blocks"] = summary.blocks;
  json["resumed_blocks"] = summary.resumed;
  json["calibration_tokens"] = summary.calibration_tokens;
  json["seconds"] = summary.seconds;
  json["peak_resident_bytes"] = peak_resident_bytes();
  Json sites = Json::array();
  for (const SiteOutcome& site : summary.sites) {
    Json entry = {{"site", site.site},
                  {"codec", site.codec},
                  {"bytes", site.bytes},
                  {"weight_error", site.report.weight_error},
                  {"output_error", site.report.output_error}};
    if (!site.report.note.empty()) entry["note"] = site.report.note;
    sites.push_back(std::move(entry));
  }
  json["sites"] = std::move(sites);
  return json;
}

std::string summary_text(const ExecuteSummary& summary, const Options& o, std::uint64_t source) {
  Table table({"codec", ">bytes", ">share"});
  for (const auto& [codec, bytes] : summary.ledger) {
    table.row({codec, format_count(bytes),
               fixed(100.0 * static_cast<double>(bytes) / static_cast<double>(summary.bytes), 1) + " %"});
  }
  table.rule();
  table.row({"finished directory", format_count(summary.bytes), ""});
  table.row({"source", format_count(source),
             fixed(static_cast<double>(source) / static_cast<double>(summary.bytes), 2) + "x"});
  return table.text() + "\n" + o.out + ": " + format_duration(summary.seconds) + ", peak memory " +
         format_bytes(peak_resident_bytes()) + ".\n";
}

Status compress(const Options& o, const Session& session) {
  SPARING_CHECK_OK(check_combination(o));
  catch_interrupts();
  const fs::path out(o.out);
  std::error_code ignored;
  // With a journal beside it, it may be the finished work of a run that died as it was about to say so.
  const bool exists = !o.out.empty() && fs::exists(fs::symlink_status(out, ignored));
  if (exists && !o.dry_run && !Journal::may_be_published(out)) {
    return usage_error("[compress] " + o.out + " exists: choose another --out or remove it");
  }
  ExecuteOptions execution;
  execution.threads = session.common.threads;
  execution.code_calibrated = code_calibrated;
  if (!o.max_ram.empty()) {
    SPARING_TRY(execution.max_ram, parse_bytes(o.max_ram));
    execution.scratch = Journal::folder_of(out).parent_path();
    if (execution.scratch.empty()) execution.scratch = ".";
  }
  // Refused before the model is read: bad budgets, a place that cannot be written.
  if (!o.fit.empty()) SPARING_CHECK_OK(parse_fit(o.fit));
  std::optional<Journal> journal;
  if (!o.dry_run) {
    SPARING_TRY(Journal opened, Journal::open(out));
    journal.emplace(std::move(opened));
  }
  SPARING_TRY(const auto checkpoint, open_model(o.source));
  SPARING_TRY(const std::string hash, checkpoint_hash(*checkpoint));
  SPARING_TRY(const Assembler assembler, Assembler::create(checkpoint, hash));
  SPARING_TRY(Plan plan, make_plan(o, session, assembler, journal ? &*journal : nullptr, execution));
  SPARING_TRY(const auto sites, bind_plan(plan, *checkpoint, hash));
  SPARING_CHECK_OK(assembler.predict(plan, sites));
  SPARING_CHECK_OK(check_budgets(plan));
  const std::uint64_t source = checkpoint->total_bytes();

  if (o.dry_run) {
    if (session.common.json) return print(plan_to_json(plan));
    return print(plan_table(plan, sites, source));
  }
  if (exists) {
    if (!journal->was_published(plan_hash(plan))) {
      return usage_error("[compress] " + o.out + " exists: choose another --out or remove it");
    }
    journal->remove();
    note(session, o.out + " was finished by an earlier run.");
    return session.common.json ? print_json(Json{{"out", o.out}, {"bytes", plan.totals.at(std::string(kWeights))}})
                               : Status();
  }
  SPARING_TRY(const ExecuteSummary summary, execute(plan, sites, assembler, *journal, out, execution));
  if (session.common.json) return print_json(summary_json(summary, plan, o, source));
  return print(summary_text(summary, o, source));
}

}  // namespace

void register_compress(CLI::App& app, Session& session) {
  CLI::App* command =
      add_command(app, session, kChangeGroup, "compress", "Make a smaller model, with a method or to fit a budget",
                  {"sparing compress MODEL --method gptq --bits 4 --group 64 --calib text.txt --out small",
                   "sparing compress MODEL --fit weights=72MiB --out small",
                   "sparing compress MODEL --fit weights=72MiB --dry-run --json > plan.json",
                   "sparing compress MODEL --plan plan.json --out small",
                   "sparing compress MODEL --method rtn --bits 3 --site 'layers.0.*:bits=8' --out small"});
  auto o = std::make_shared<Options>();
  add_model(command, o->source);
  const std::string goal = "What to do", text = "Calibration", where = "Files and resources";
  command->add_option("--fit", o->fit, "Best uniform setting whose finished directory has at most this many bytes")
      ->type_name("weights=SIZE")
      ->group(goal);
  command->add_option("--method", o->method, "Method for the linear weights ('sparing methods' lists them)")
      ->type_name("NAME")
      ->group(goal);
  command->add_option("--bits", o->bits, "Bits per weight; 4 unless --fit chooses")->type_name("N")->group(goal);
  command->add_option("--group", o->group, "Inputs per scale; 64 unless --fit chooses")->type_name("N")->group(goal);
  command->add_option("--param", o->params, "A parameter of the method, as in --param damping=0.02; repeatable")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false)
      ->group(goal);
  command->add_option("--embed-method", o->embed_method, "Method for embedding and head, or keep")
      ->type_name("NAME")
      ->capture_default_str()
      ->group(goal);
  command->add_option("--embed-bits", o->embed_bits, "Bits of embedding and head; 8 unless --fit chooses")
      ->type_name("N")
      ->group(goal);
  command
      ->add_option("--embed-group", o->embed_group, "Inputs per scale of embedding and head; 64 unless --fit chooses")
      ->type_name("N")
      ->group(goal);
  command
      ->add_option("--site", o->sites,
                   "Other settings for sites that a pattern matches; method is a setting; repeatable")
      ->type_name("PATTERN:NAME=VALUE,...")
      ->allow_extra_args(false)
      ->group(goal);
  command->add_option("--plan", o->plan, "Carry out this plan")->type_name("FILE")->group(goal);
  command->add_flag("--dry-run", o->dry_run, "Print the plan (with --json: plan.json) and stop")->group(goal);
  command->add_option("--calib", o->calib, "Text file, repeatable; or self: text that the model samples [self]")
      ->type_name("FILE|self")
      ->allow_extra_args(false)
      ->group(text);
  command->add_option("--calib-tokens", o->calib_tokens, "Tokens to calibrate on")
      ->type_name("N")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40))
      ->capture_default_str()
      ->group(text);
  command->add_option("--calib-length", o->calib_length, "Tokens of one sequence")
      ->type_name("N")
      ->check(CLI::Range(std::int64_t{2}, std::int64_t{1} << 20))
      ->capture_default_str()
      ->group(text);
  command->add_option("--out", o->out, "Directory to write; it must not exist")->type_name("DIR")->group(where);
  command->add_option("--max-ram", o->max_ram, "Spill calibration's activations to a file beyond this")
      ->type_name("SIZE")
      ->group(where);
  on_chosen(command, session, [o, &session] { return compress(*o, session); });
}

}  // namespace sparing::cli
