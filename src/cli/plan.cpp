// sparing plan: measures, solves and writes plan.json, for compress --plan to carry out. Part of sparing-lab.

#include <filesystem>
#include <memory>

#include "base/atomic_file.h"
#include "base/interrupt.h"
#include "base/scratch_folder.h"
#include "cli/lab_commands.h"
#include "cli/plan_args.h"
#include "cli/plan_text.h"

namespace sparing::cli {
namespace {

namespace fs = std::filesystem;

struct Options {
  PlanArgs how;
  std::string out;
};

Status plan(const Options& o, const Session& session) {
  SPARING_CHECK_OK(check_plan_args(o.how, "plan"));
  catch_interrupts();
  const fs::path out(o.out);
  std::error_code ignored;
  if (!o.out.empty() && fs::exists(fs::symlink_status(out, ignored))) {
    return usage_error("[plan] " + o.out + " exists: choose another --out or remove it");
  }
  // Without a file to write there is no place for a journal that lasts.
  std::optional<ScratchFolder> scratch;
  if (o.out.empty()) {
    SPARING_TRY(ScratchFolder made, ScratchFolder::create());
    scratch.emplace(std::move(made));
  }
  SPARING_TRY(Journal journal, Journal::open(scratch ? scratch->path() / "plan" : out));
  SPARING_TRY(const ExecuteOptions execution, execution_of(o.how, session, journal.folder().parent_path()));
  SPARING_TRY(const auto checkpoint, open_model(o.how.source));
  SPARING_TRY(const std::string hash, checkpoint_hash(*checkpoint));
  SPARING_TRY(const Assembler whole, Assembler::create(checkpoint, hash));
  SPARING_CHECK_OK(stay_on_device(journal, execution.device));
  SPARING_TRY(Plan plan, make_plan(o.how, session, whole, journal, execution));
  SPARING_TRY(const Assembler assembler, assembler_for(plan.structure, whole, plan.seed, journal, execution));
  SPARING_TRY(const auto sites, bind_plan(plan, assembler.checkpoint(), hash));
  SPARING_CHECK_OK(assembler.predict(plan, sites));
  if (!o.out.empty()) SPARING_CHECK_OK(write_file_atomically(out, plan_to_json(plan)));
  journal.remove();
  return print(session.common.json ? plan_to_json(plan) : plan_table(plan, sites, checkpoint->total_bytes()));
}

}  // namespace

void register_plan(CLI::App& app, Session& session) {
  CLI::App* command =
      add_command(app, session, kChangeGroup, "plan", "Find the best model for a budget, and say what to expect of it",
                  {"sparing plan MODEL --fit weights=60MiB --calib text.txt --out plan.json",
                   "sparing plan MODEL --fit weights=60MiB,speed=60tok/s",
                   "sparing plan MODEL --fit ram=300MiB@2048 --site 'layers.0.*:bits=4..8' --site 'embed:method=!gptq'",
                   "sparing compress MODEL --plan plan.json --out small"});
  auto o = std::make_shared<Options>();
  add_plan_args(command, o->how);
  command->add_option("--out", o->out, "plan.json to write; it must not exist")
      ->type_name("FILE")
      ->group("Files and resources");
  on_chosen(command, session, [o, &session] { return plan(*o, session); });
}

}  // namespace sparing::cli
