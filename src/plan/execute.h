#pragma once
// Carries out a plan: codes block after block, journals each, builds the directory aside and publishes it. Killed at
// any moment and started again with the same plan and output, it goes on after the last finished block and ends with
// the same bytes as if it had not been killed.

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lab/sensitivity.h"
#include "methods/method.h"
#include "plan/assemble.h"
#include "plan/calibration.h"
#include "plan/journal.h"

namespace sparing {

/// What an interrupted run says is kept.
inline constexpr std::string_view kKept = "finished blocks are kept; the same command goes on from there";

class BlockStore;
struct ExecuteOptions;
/// Codes the blocks of the store that are not finished, with statistics of their inputs on these sequences.
using CalibratedCoder =
    std::function<Status(const Plan& plan, const Assembler& assembler, const std::vector<std::vector<Token>>& sequences,
                         BlockStore& store, const ExecuteOptions& options)>;

struct HealedModel;
/// Trains what is continuous in the store's finished blocks.
using Healer = std::function<Result<HealedModel>(const Plan& plan, const Assembler& assembler, const BlockStore& store,
                                                 Journal& journal, const ExecuteOptions& options)>;
/// lab/calibrate.h's calibrate and lab/sensitivity.h's measure_sensitivity.
using Calibrator = std::function<Status(const Checkpoint& checkpoint, const std::vector<std::vector<Token>>& sequences,
                                        const CalibrationOptions& options, SiteCoder& coder)>;
using SensitivityMeter =
    std::function<Result<Sensitivity>(const Checkpoint& checkpoint, const std::vector<std::vector<Token>>& sequences,
                                      std::uint64_t seed, const CalibrationOptions& options)>;

struct ExecuteOptions {
  int threads = 0;
  int jobs = 1;                     ///< independent sites coded at once, each by its share of the threads
  std::string device = "cpu";       ///< where libtorch computes
  std::uint64_t max_ram = 0;        ///< 0: no limit asked; otherwise calibration spills its activations to a file
  std::filesystem::path scratch;    ///< that file's folder; empty: the system's folder for temporary files
  Healer heal;                      ///< the lab's (plan/heal_stage.h); empty: plans that heal are refused
  CalibratedCoder code_calibrated;  ///< the lab's (plan/code_calibrated.h); empty: plans that calibrate are refused
  Calibrator calibrate;             ///< the lab's, for the planner to look through; empty: --fit is refused
  SensitivityMeter sensitivity;     ///< likewise
};

/// How healing went: mean KL per token, before and after, on held-out text and on what was trained on.
struct HealOutcome {
  double held_out_before = 0, held_out_after = 0, trained_before = 0, trained_after = 0;
  std::int64_t tokens = 0, kept_tokens = 0;  ///< trained on; and when the state that is kept was measured
  bool stopped = false;                      ///< the gain had fallen below the plan's rate
  double tokens_per_s = 0;
};

/// What the finished directory has come to (plan/finished.h).
struct FinishedMeasures {
  double tokens_per_second = 0;
  std::optional<double> damage;  ///< mean KL a token on held-out text; nothing where the plan has no text
};

/// How one site came out.
struct SiteOutcome {
  std::string site, codec;  ///< codec: describe() of the terms
  std::uint64_t bytes = 0;
  SiteReport report;
};

struct ExecuteSummary {
  std::vector<SiteOutcome> sites;               ///< in the model's order
  std::map<std::string, std::uint64_t> ledger;  ///< bytes by codec
  std::uint64_t bytes = 0;                      ///< of the finished directory: measured
  std::size_t blocks = 0, resumed = 0;          ///< all, and those an earlier run had finished
  std::int64_t calibration_tokens = 0;
  std::optional<HealOutcome> heal;
  std::optional<FinishedMeasures> finished;  ///< where a solver made the plan
  double coding_seconds = 0, heal_seconds = 0, seconds = 0;
};

/// Work that is kept goes on where it began: another device would give other bits. Errors: the journal holds work of
/// another one; its folder cannot be written.
Status stay_on_device(Journal& journal, const std::string& device);

/// `plan` is bound, predicted and within its budgets. On success `out` exists and the journal is gone. On failure the
/// journal is kept where blocks are finished, unless the disk is full: then it is removed.
Result<ExecuteSummary> execute(const Plan& plan, const std::vector<BoundSite>& sites, const Assembler& assembler,
                               Journal& journal, const std::filesystem::path& out, const ExecuteOptions& options);

/// The same stream of random numbers for a site or a block whatever else the plan holds.
std::uint64_t seed_of(std::uint64_t seed, const std::string& name);

/// A site's weight in the source, [rows, cols].
Result<std::vector<float>> site_values(const Checkpoint& checkpoint, const std::string& site);

/// Codes one site. The result has exactly the predicted form. Errors: the source's and the method's.
Result<SiteResult> code_site(const BoundSite& site, const Checkpoint& checkpoint, const Statistics* statistics,
                             std::uint64_t seed, int threads);

/// The weights of finished blocks and the reports about them, by site, from and to the journal, or in memory only.
class BlockStore {
 public:
  /// journal null: in memory.
  BlockStore(Journal* journal, const std::vector<BoundSite>& sites);
  /// Block names in the model's order.
  const std::vector<std::string>& blocks() const { return blocks_; }
  std::vector<const BoundSite*> sites_of(const std::string& block) const;
  /// Reads what the journal has of a block; true where all of it is there and decodes.
  Result<bool> load(const std::string& block);
  /// Keeps a block. Results in the order of sites_of().
  Status store(const std::string& block, std::vector<SiteResult> results);
  /// Null where the site's block is not finished.
  const SiteResult* find(const std::string& site) const;

 private:
  Journal* journal_;
  const std::vector<BoundSite>& sites_;
  std::vector<std::string> blocks_;
  std::map<std::string, SiteResult, std::less<>> results_;  ///< blobs are mapped from the journal
};

/// Codes the blocks that are not finished where no method wants statistics: one site in memory at a time.
Status code_directly(const Plan& plan, const Assembler& assembler, BlockStore& store, const ExecuteOptions& options);

/// code_directly, or code_calibrated of the options, as the plan needs.
Status code_blocks(const Plan& plan, const Assembler& assembler, const std::vector<std::vector<Token>>& sequences,
                   BlockStore& store, const ExecuteOptions& options);

}  // namespace sparing
