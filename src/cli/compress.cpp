// sparing compress: makes a plan (from --method, --fit or --plan), shows it or carries it out. Part of sparing-lab.

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/scratch_folder.h"
#include "base/system.h"
#include "base/units.h"
#include "cli/lab_commands.h"
#include "cli/plan_args.h"
#include "cli/plan_text.h"
#include "cli/table.h"
#include "kernels/linear.h"

namespace sparing::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

struct Options {
  PlanArgs how;
  std::string out, plan;
  bool dry_run = false;
};

Status check_combination(const Options& o) {
  if (!o.plan.empty() && o.how.says_anything()) {
    return usage_error("[compress] --plan says everything: give no method, rates or text beside it");
  }
  if (o.plan.empty()) SPARING_CHECK_OK(check_plan_args(o.how, "compress"));
  if (!o.dry_run && o.out.empty()) return usage_error("[compress] --out: missing; name the directory to write");
  return {};
}

Json summary_json(const ExecuteSummary& summary, const Plan& plan, const Options& o, std::uint64_t source) {
  Json json = {{"out", o.out},
               {"bytes", summary.bytes},
               {"source_bytes", source},
               {"ratio", static_cast<double>(source) / static_cast<double>(summary.bytes)}};
  if (!plan.budgets.empty()) json["budgets"] = plan.budgets;
  json["ledger"] = summary.ledger;
  json["plan_hash"] = plan_hash(plan);
  if (summary.heal) {
    const HealOutcome& h = *summary.heal;
    json["heal"] = {{"tokens", h.tokens},
                    {"kept_tokens", h.kept_tokens},
                    {"stopped", h.stopped},
                    {"tokens_per_s", h.tokens_per_s},
                    {"held_out_kl", {h.held_out_before, h.held_out_after}},
                    {"trained_kl", {h.trained_before, h.trained_after}}};
  }
  if (summary.finished) {
    json["forecast"] = plan.forecast.values;
    json["finished"] = {{"tokens_per_second", summary.finished->tokens_per_second},
                        {"coding_seconds", summary.coding_seconds},
                        {"heal_seconds", summary.heal_seconds}};
    if (summary.finished->damage) json["finished"]["damage"] = *summary.finished->damage;
  }
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

std::string summary_text(const ExecuteSummary& summary, const Plan& plan, const Options& o, std::uint64_t source) {
  Table table({"codec", ">bytes", ">share"});
  for (const auto& [codec, bytes] : summary.ledger) {
    table.row({codec, format_count(bytes),
               fixed(100.0 * static_cast<double>(bytes) / static_cast<double>(summary.bytes), 1) + " %"});
  }
  table.rule();
  table.row({"finished directory", format_count(summary.bytes), ""});
  table.row({"source", format_count(source),
             fixed(static_cast<double>(source) / static_cast<double>(summary.bytes), 2) + "x"});
  std::string healed;
  if (summary.heal) {
    const HealOutcome& h = *summary.heal;
    healed = "\nHealed on " + format_count(static_cast<std::uint64_t>(h.tokens)) + " tokens" +
             (h.stopped ? " (the gain had become small)" : "") + ": KL on held-out text " +
             significant(h.held_out_before) + " -> " + significant(h.held_out_after) + ", on trained text " +
             significant(h.trained_before) + " -> " + significant(h.trained_after) + ".\n";
  }
  return table.text() + healed + outcome_text(plan, summary) + "\n" + o.out + ": " + format_duration(summary.seconds) +
         ", peak memory " + format_bytes(peak_resident_bytes()) + ".\n";
}

/// Groups that kernels have no fast form of, which would otherwise show only when the model runs.
void warn_of_slow_groups(const std::vector<BoundSite>& sites) {
  std::string first;
  std::size_t others = 0;
  std::int64_t group = 0;
  for (const BoundSite& site : sites) {
    if (site.method == nullptr || !site.params.has("group")) continue;
    const std::int64_t length = site.params.integer("group");
    if (kernels::has_fast_kernels(length, site.site.cols)) continue;
    if (first.empty())
      first = site.site.name, group = length;
    else
      ++others;
  }
  if (first.empty()) return;
  log_warning("[compress] groups of " + std::to_string(group) + " inputs (" + first +
              (others > 0 ? " and " + std::to_string(others) + " more" : "") +
              ") run many times slower than groups of a multiple of 4: take one if speed matters");
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
  SPARING_TRY(const ExecuteOptions execution, execution_of(o.how, session, Journal::folder_of(out).parent_path()));
  // A plan that nothing is written for keeps its measurements in a folder that goes away.
  std::optional<ScratchFolder> scratch;
  if (o.dry_run) {
    SPARING_TRY(ScratchFolder made, ScratchFolder::create());
    scratch.emplace(std::move(made));
  }
  SPARING_TRY(Journal journal, Journal::open(scratch ? scratch->path() / "plan" : out));
  SPARING_TRY(const auto checkpoint, open_model(o.how.source));
  SPARING_TRY(const std::string hash, checkpoint_hash(*checkpoint));
  SPARING_TRY(const Assembler whole, Assembler::create(checkpoint, hash));
  SPARING_CHECK_OK(stay_on_device(journal, execution.device));
  SPARING_TRY(Plan plan, o.plan.empty() ? make_plan(o.how, session, whole, journal, execution) : read_plan(o.plan));
  SPARING_TRY(const Assembler assembler, assembler_for(plan.structure, whole, plan.seed, journal, execution));
  SPARING_TRY(const auto sites, bind_plan(plan, assembler.checkpoint(), hash));
  SPARING_CHECK_OK(assembler.predict(plan, sites));
  SPARING_CHECK_OK(check_budgets(plan));
  warn_of_slow_groups(sites);
  const std::uint64_t source = checkpoint->total_bytes();

  if (o.dry_run) {
    if (session.common.json) return print(plan_to_json(plan));
    return print(plan_table(plan, sites, source));
  }
  if (exists) {
    if (!journal.was_published(plan_hash(plan))) {
      return usage_error("[compress] " + o.out + " exists: choose another --out or remove it");
    }
    journal.remove();
    note(session, o.out + " was finished by an earlier run.");
    return session.common.json ? print_json(Json{{"out", o.out}, {"bytes", plan.totals.at(std::string(kWeights))}})
                               : Status();
  }
  // What to expect, before anything heavy is done.
  if (!session.common.json) note(session, forecast_text(plan));
  SPARING_TRY(const ExecuteSummary summary, execute(plan, sites, assembler, journal, out, execution));
  if (session.common.json) return print_json(summary_json(summary, plan, o, source));
  return print(summary_text(summary, plan, o, source));
}

}  // namespace

void register_compress(CLI::App& app, Session& session) {
  CLI::App* command =
      add_command(app, session, kChangeGroup, "compress", "Make a smaller model, with a method or to fit a budget",
                  {"sparing compress MODEL --method gptq --bits 4 --group 64 --calib text.txt --out small",
                   "sparing compress MODEL --fit weights=72MiB --out small",
                   "sparing compress MODEL --method gptq --bits 3 --calib text.txt --heal 51200 --out small",
                   "sparing compress MODEL --fit weights=72MiB --dry-run --json > plan.json",
                   "sparing compress MODEL --plan plan.json --out small",
                   "sparing compress MODEL --method rtn --bits 3 --site 'layers.0.*:bits=8' --out small"});
  auto o = std::make_shared<Options>();
  add_plan_args(command, o->how);
  const std::string goal = "What to do", where = "Files and resources";
  command->add_option("--plan", o->plan, "Carry out this plan")->type_name("FILE")->group(goal);
  command->add_flag("--dry-run", o->dry_run, "Print the plan (with --json: plan.json) and stop")->group(goal);
  command->add_option("--out", o->out, "Directory to write; it must not exist")->type_name("DIR")->group(where);
  on_chosen(command, session, [o, &session] { return compress(*o, session); });
}

}  // namespace sparing::cli
