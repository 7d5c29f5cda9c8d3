#pragma once
// What `plan` and `compress` take alike: the model, the goal, what is pinned, the calibration text; and the plan they
// make of it. Part of sparing-lab.

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/app.h"
#include "cli/model_args.h"
#include "plan/fit.h"
#include "plan/restructure.h"

namespace sparing::cli {

struct PlanArgs {
  ModelArgs source;
  std::string method, fit, heal, embed_method, prune_method = "ziplm", max_ram, device = "cpu";
  int jobs = 0;
  std::optional<std::int32_t> bits, group, embed_bits, embed_group;
  std::vector<std::string> params, sites, prune, calib;
  std::int64_t calib_tokens = 32768, calib_length = 512, generations = 0;

  bool says_anything() const {
    return !method.empty() || !fit.empty() || bits || group || embed_bits || embed_group || !params.empty() ||
           !sites.empty() || !prune.empty() || !calib.empty() || !heal.empty();
  }
};

void add_plan_args(CLI::App* command, PlanArgs& args);
/// --device: what ExecuteOptions::device is, once check_device (lab/calibrate.h) knows it.
CLI::Option* add_device(CLI::App* command, std::string& device);

/// Refused before the model is read: unknown methods, bad budgets.
Status check_plan_args(const PlanArgs& args, const std::string& command);

/// Execution with all that the lab can do, on the session's threads.
ExecuteOptions lab_execution(const Session& session);
/// What carries the plan out and what it is measured with.
Result<ExecuteOptions> execution_of(const PlanArgs& args, const Session& session, const std::filesystem::path& scratch);

Result<Plan> make_plan(const PlanArgs& args, const Session& session, const Assembler& assembler, Journal& journal,
                       const ExecuteOptions& execution);

}  // namespace sparing::cli
