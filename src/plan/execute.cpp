#include "plan/execute.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/interrupt.h"
#include "base/jobs.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/units.h"
#include "plan/finished.h"
#include "plan/heal_stage.h"

namespace sparing {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// The journal and the directory built from it exist side by side for a moment.
Status check_disk(const fs::path& out, std::uint64_t bytes) {
  const fs::path parent = Journal::folder_of(out).parent_path();
  struct statvfs disk {};
  if (::statvfs(parent.empty() ? "." : parent.c_str(), &disk) != 0) return {};
  const std::uint64_t free = static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize, needed = 2 * bytes + kMiB;
  if (free >= needed) return {};
  return resource_error("[compress] " + out.string() + ": needs " + format_bytes(needed) + " of disk, " +
                        format_bytes(free) + " free: make room or choose another --out");
}

std::uint64_t directory_bytes(const fs::path& folder) {
  std::uint64_t sum = 0;
  std::error_code ignored;
  for (const auto& entry : fs::recursive_directory_iterator(folder, ignored)) {
    if (entry.is_regular_file(ignored)) sum += entry.file_size(ignored);
  }
  return sum;
}

/// Its size was only guessed beforehand.
bool estimated(const BoundSite& site) {
  return site.method != nullptr && site.method->estimates;
}

/// The plan was within what was asked by its drafts; the finished model may still miss it by a tenth.
void warn_of_speed(const Plan& plan, const FinishedMeasures& finished) {
  const auto limit = plan.budgets.find(kTokenTime);
  if (limit == plan.budgets.end() || !(finished.tokens_per_second > 0)) return;
  const double allowed = static_cast<double>(limit->second) * 1.05;
  if (1e9 / finished.tokens_per_second <= allowed) return;
  log_warning("[compress] speed: " + std::to_string(static_cast<std::int64_t>(finished.tokens_per_second)) +
              " tok/s measured, and the plan promised " +
              std::to_string(static_cast<std::int64_t>(1e9 / static_cast<double>(limit->second))) +
              ": measure again on a quiet machine (sparing bench), or ask for more than is needed");
}

Result<ExecuteSummary> run(const Plan& plan, const std::vector<BoundSite>& sites, const Assembler& assembler,
                           Journal& journal, const ExecuteOptions& options) {
  ExecuteSummary summary;
  BlockStore store(&journal, sites);
  for (const std::string& block : store.blocks()) {
    SPARING_TRY(const bool finished, store.load(block));
    summary.resumed += finished;
  }
  summary.blocks = store.blocks().size();
  if (summary.resumed > 0) {
    log_info("[compress] going on where an earlier run stopped: " + std::to_string(summary.resumed) + " of " +
             std::to_string(summary.blocks) + " blocks are finished");
  }
  auto start = Clock::now();
  if (summary.resumed < summary.blocks) {
    CalibrationTokens text;
    if (plan.calibration.tokens > 0) {
      SPARING_TRY(text, calibration_tokens(plan.calibration, assembler.original_ptr(), assembler.model_hash(),
                                           plan.seed, options.threads, &journal));
      summary.calibration_tokens = static_cast<std::int64_t>(text.sequences.size()) * plan.calibration.length;
    }
    SPARING_CHECK_OK(code_blocks(plan, assembler, text.sequences, store, options));
  }

  summary.coding_seconds = since(start);
  HealedModel healed;
  start = Clock::now();
  if (plan.heal) {
    if (!options.heal) return usage_error("[compress] this program cannot heal: use sparing-lab");
    SPARING_TRY(healed, options.heal(plan, assembler, store, journal, options));
    summary.heal = healed.outcome;
    summary.heal_seconds = since(start);
  }
  std::vector<std::pair<std::string, CodedWeight>> weights;
  for (std::size_t i = 0; i < sites.size(); ++i) {
    const SiteResult* result = store.find(sites[i].site.name);
    if (result == nullptr) return internal_error("[compress] " + sites[i].site.name + " was not coded");
    const auto trained = healed.weights.find(sites[i].site.name);
    const CodedWeight& weight = trained != healed.weights.end() ? trained->second : result->weight;
    std::string coding;
    for (const Term& term : weight.terms) coding += (coding.empty() ? "" : " + ") + describe(term.spec);
    SiteOutcome outcome{sites[i].site.name, std::move(coding), stored_bytes(weight), result->report};
    if (const auto predicted = plan.sites[i].costs.find(kWeights);
        !estimated(sites[i]) && predicted != plan.sites[i].costs.end() && predicted->second != outcome.bytes) {
      return internal_error("[compress] " + outcome.site + ": " + std::to_string(outcome.bytes) + " bytes, predicted " +
                            std::to_string(predicted->second));
    }
    for (const Term& term : weight.terms) {
      SPARING_TRY(const std::uint64_t bytes, blob_bytes(term.spec, weight.rows, weight.cols));
      summary.ledger[codec_name(term.spec)] += bytes;
    }
    weights.emplace_back(outcome.site, weight);
    summary.sites.push_back(std::move(outcome));
  }
  SPARING_TRY(const fs::path staging, journal.staging());
  SPARING_CHECK_OK(assembler.write(plan, std::move(weights), healed.vectors, staging));
  summary.bytes = directory_bytes(staging);
  const auto predicted = plan.totals.find(kWeights);
  if (std::any_of(sites.begin(), sites.end(), estimated)) {
    // Only now is it known what they take.
    const auto limit = plan.budgets.find(kWeights);
    if (limit != plan.budgets.end() && summary.bytes > limit->second) {
      return resource_error("[compress] the finished directory has " + format_count(summary.bytes) +
                            " bytes, over the budget of " + format_count(limit->second) +
                            ": choose fewer bits somewhere or raise the budget");
    }
  } else if (predicted != plan.totals.end() && predicted->second != summary.bytes) {
    return internal_error("[compress] the finished directory has " + std::to_string(summary.bytes) +
                          " bytes, predicted " + std::to_string(predicted->second));
  }
  std::uint64_t coded = 0;
  for (const auto& [codec, bytes] : summary.ledger) coded += bytes;
  summary.ledger["other"] = summary.bytes - std::min(summary.bytes, coded);
  if (!plan.forecast.values.empty()) {
    SPARING_TRY(summary.finished, measure_finished(plan, assembler, staging, journal, options));
    warn_of_speed(plan, *summary.finished);
  }
  SPARING_CHECK_OK(journal.publish());
  return summary;
}

}  // namespace

Status code_directly(const Plan& plan, const Assembler& assembler, BlockStore& store, const ExecuteOptions& options) {
  std::size_t done = 0;
  Progress progress("coding", static_cast<std::int64_t>(store.blocks().size()), "block");
  for (const std::string& block : store.blocks()) {
    if (store.find(store.sites_of(block).front()->site.name) != nullptr) ++done;
  }
  progress.resume_at(static_cast<std::int64_t>(done));
  for (const std::string& block : store.blocks()) {
    const auto sites = store.sites_of(block);
    if (store.find(sites.front()->site.name) != nullptr) continue;
    std::vector<SiteResult> results(sites.size());
    const int at_the_same_time = std::min(options.jobs, static_cast<int>(sites.size()));
    SPARING_CHECK_OK(at_once(options.jobs, sites.size(), [&](std::size_t i) -> Status {
      if (interrupted()) return interrupted_error("compress", kKept);
      SPARING_TRY(results[i], code_site(*sites[i], assembler.checkpoint(), nullptr, plan.seed,
                                        threads_each(options.threads, at_the_same_time)));
      return {};
    }));
    SPARING_CHECK_OK(store.store(block, std::move(results)));
    progress.advance(1, block);
  }
  progress.finish();
  return {};
}

Status code_blocks(const Plan& plan, const Assembler& assembler, const std::vector<std::vector<Token>>& sequences,
                   BlockStore& store, const ExecuteOptions& options) {
  if (plan.calibration.tokens == 0) return code_directly(plan, assembler, store, options);
  if (!options.code_calibrated) {
    return usage_error("[compress] this program cannot calibrate: use rtn, or sparing-lab");
  }
  return options.code_calibrated(plan, assembler, sequences, store, options);
}

Status stay_on_device(Journal& journal, const std::string& device) {
  const std::string cpu = "\"cpu\"", wanted = nlohmann::json(device).dump(),
                    begun = journal.note("device").value_or(cpu);
  if (begun == wanted) return {};
  if (!journal.is_new())
    return usage_error("[journal] --device " + device + ": " + journal.folder().string() + " holds work done on " +
                       begun + ": go on there, or remove it to begin again");
  return journal.keep_note("device", wanted);
}

Result<ExecuteSummary> execute(const Plan& plan, const std::vector<BoundSite>& sites, const Assembler& assembler,
                               Journal& journal, const fs::path& out, const ExecuteOptions& options) {
  const auto start = Clock::now();
  if (const auto total = plan.totals.find(kWeights); total != plan.totals.end()) {
    SPARING_CHECK_OK(check_disk(out, total->second));
  }
  SPARING_CHECK_OK(journal.begin(plan_hash(plan), plan_to_json(plan)));
  auto summary = run(plan, sites, assembler, journal, options);
  if (!summary) {
    // A damaged source stays damaged: what this run made of it will not be wanted again.
    if (summary.error().kind == ErrorKind::input && journal.is_new()) journal.remove();
    if (summary.error().message.find(std::strerror(ENOSPC)) == std::string::npos) return summary;
    // A full disk is given back what no later run can use.
    static_cast<void>(journal.staging().ok());
    Error error = std::move(summary).error();
    if (journal.holds_work()) error.message += "; " + std::string(kKept);
    return error;
  }
  summary->seconds = since(start);
  return summary;
}

}  // namespace sparing
