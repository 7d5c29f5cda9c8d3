#include "plan/code_calibrated.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>

#include "base/jobs.h"
#include "base/system.h"
#include "base/units.h"
#include "lab/calibrate.h"
#include "lab/math/obq.h"
#include "lab/sensitivity.h"
#include "methods/site.h"
#include "plan/survey.h"

namespace sparing {
namespace {

/// The plan as calibration sees it: what is finished is handed over, what is coded is kept block by block.
class PlanCoder final : public SiteCoder {
 public:
  /// `sensitivity`: of the original, where a method asks for it.
  PlanCoder(const Plan& plan, const Assembler& assembler, BlockStore& store, const Sensitivity& sensitivity,
            int threads)
      : plan_(plan), assembler_(assembler), store_(store), sensitivity_(sensitivity), threads_(threads) {
    for (const std::string& block : store.blocks()) {
      for (const BoundSite* site : store.sites_of(block)) sites_.emplace(site->site.name, site);
    }
  }

  const CodedWeight* finished(const std::string& site) override {
    const SiteResult* result = store_.find(site);
    return result == nullptr ? nullptr : &result->weight;
  }
  bool wants_statistics(const std::string& site) const override { return sites_.at(site)->calibrates(); }
  bool wants_damage(const std::string& site) const override { return sites_.at(site)->corrects(); }

  std::span<const float> token_weights(const std::string& site) const override {
    const auto found = sensitivity_.by_token.find(site);
    if (found == sensitivity_.by_token.end() || !sites_.at(site)->guides()) return {};
    return found->second;
  }
  void expect_at_once(int sites) override { at_once_ = sites; }
  Result<CodedWeight> code(const std::string& site, const Statistics* statistics) override {
    Statistics weighed;
    const auto outputs = sensitivity_.outputs.find(site);
    if (statistics != nullptr && outputs != sensitivity_.outputs.end() && sites_.at(site)->weighs_outputs()) {
      weighed = *statistics;
      weighed.sensitivity = outputs->second;
      statistics = &weighed;
    }
    SPARING_TRY(SiteResult result, code_site(*sites_.at(site), assembler_.checkpoint(), statistics, plan_.seed,
                                             threads_each(threads_, at_once_)));
    CodedWeight weight = result.weight;
    const std::lock_guard one_at_a_time(mutex_);
    if (result.trainable && statistics != nullptr) moments_[site] = copy_of(statistics->second_moment);
    pending_.insert_or_assign(site, std::move(result));
    return weight;
  }

  TrainingSchedule schedule(const std::string& block) const override {
    for (const BoundSite* site : store_.sites_of(block)) {
      TrainingSchedule schedule = site->schedule();
      schedule.seed = seed_of(plan_.seed, block);
      if (schedule.steps > 0) return schedule;
    }
    return {};
  }
  TrainableWeight* trainable(const std::string& site) override {
    const auto found = pending_.find(site);
    return found == pending_.end() || sites_.at(site)->schedule().steps == 0 ? nullptr : found->second.trainable.get();
  }
  Result<CodedWeight> trained(const std::string& site, const std::string& report) override {
    SiteResult& result = pending_.at(site);
    SPARING_TRY(result.weight, result.trainable->code());
    result.trainable.reset();
    result.report.note += (result.report.note.empty() ? "" : ", ") + report;
    SPARING_TRY(const std::vector<float> original, site_values(assembler_.checkpoint(), site));
    std::vector<float> values(original.size());
    decode_effective_rows(result.weight, 0, result.weight.rows, values.data());
    result.report.weight_error = relative_error(original, values);
    if (const auto moment = moments_.find(site); moment != moments_.end()) {
      ThreadPool pool(threads_);
      result.report.output_error =
          math::relative_output_error(original, values, result.weight.rows, result.weight.cols, *moment->second, pool);
      moments_.erase(moment);
    }
    return result.weight;
  }

  Status finish_block(const std::string& block) override {
    std::vector<SiteResult> results;
    for (const BoundSite* site : store_.sites_of(block)) {
      const auto found = pending_.find(site->site.name);
      if (found == pending_.end()) return internal_error("[compress] " + site->site.name + " was not coded");
      results.push_back(std::move(found->second));
      results.back().trainable.reset();
    }
    pending_.clear();
    moments_.clear();
    copied_ = {};
    return store_.store(block, std::move(results));
  }

 private:
  /// Sites that share their inputs share the copy.
  std::shared_ptr<const std::vector<float>> copy_of(std::span<const float> moment) {
    if (!copied_ || !std::ranges::equal(*copied_, moment))
      copied_ = std::make_shared<const std::vector<float>>(moment.begin(), moment.end());
    return copied_;
  }

  const Plan& plan_;
  const Assembler& assembler_;
  BlockStore& store_;
  const Sensitivity& sensitivity_;
  int threads_, at_once_ = 1;
  std::map<std::string, const BoundSite*> sites_;
  std::mutex mutex_;  ///< over what coding adds to
  std::map<std::string, SiteResult> pending_;
  std::map<std::string, std::shared_ptr<const std::vector<float>>> moments_;  ///< of sites that will be trained
  std::shared_ptr<const std::vector<float>> copied_;
};

/// What the largest block needs besides activations: its weights in f32 with a copy, and statistics with their factor;
/// where it is trained, its weights' states, values and gradients; where inputs are turned, both once more.
std::uint64_t block_memory(const BlockStore& store, int jobs) {
  const auto factors = static_cast<std::uint64_t>(std::max(1, jobs));  // each with a copy of its matrix
  std::uint64_t most = 0;
  for (const std::string& block : store.blocks()) {
    std::uint64_t weights = 0, statistics = 0, trained = 0, sequences = 0, turned = 0;
    for (const BoundSite* site : store.sites_of(block)) {
      const TrainingSchedule schedule = site->schedule();
      if (schedule.steps > 0) {
        trained += static_cast<std::uint64_t>(site->site.rows * site->site.cols);
        sequences = static_cast<std::uint64_t>(schedule.batch);
      }
      weights += static_cast<std::uint64_t>(site->site.rows * site->site.cols);
      statistics = std::max(statistics, static_cast<std::uint64_t>(site->site.cols * site->site.cols));
      if (site->turns())
        turned =
            std::max(turned, static_cast<std::uint64_t>((2 * site->site.cols + site->site.rows) * site->site.cols));
    }
    const std::uint64_t gradients = std::min<std::uint64_t>(4 * trained * sequences, 512 * kMiB);
    most =
        std::max(most, 4 * (2 * weights + (1 + 2 * factors) * statistics + 5 * trained + factors * turned) + gradients);
  }
  return most;
}

/// Whether a site that is still to be coded does something.
template <class F>
bool any_left(const BlockStore& store, F does) {
  for (const std::string& block : store.blocks()) {
    for (const BoundSite* site : store.sites_of(block)) {
      if (store.find(site->site.name) == nullptr && does(*site)) return true;
    }
  }
  return false;
}

}  // namespace

Status code_calibrated(const Plan& plan, const Assembler& assembler, const std::vector<std::vector<Token>>& sequences,
                       BlockStore& store, const ExecuteOptions& options) {
  give_back_free_memory();  // what the planner had
  CalibrationOptions calibration;
  calibration.threads = options.threads;
  calibration.device = options.device;
  if (options.max_ram > 0) {
    const std::uint64_t besides = resident_bytes() + block_memory(store, options.jobs);
    calibration.max_ram = options.max_ram > besides ? options.max_ram - besides : 1;
  }
  calibration.scratch = options.scratch;
  calibration.jobs = options.jobs;
  calibration.bf16 = true;
  Sensitivity sensitivity;
  if (any_left(store, [](const BoundSite& site) { return site.weighs_outputs(); })) {
    SPARING_TRY(sensitivity, measure_sensitivity(assembler.checkpoint(), some_of(sequences, kSensitivityTokens),
                                                 plan.seed, calibration));
  }
  if (any_left(store, [](const BoundSite& site) { return site.guides(); })) {
    SPARING_TRY(Sensitivity of_all, measure_sensitivity(assembler.checkpoint(), sequences, plan.seed, calibration));
    sensitivity.by_token = std::move(of_all.by_token);
    for (auto& [site, weights] : sensitivity.by_token) {
      // One sampled token says only roughly how much a position matters: the root keeps few of them from ruling.
      for (float& weight : weights) weight = std::sqrt(weight);
    }
  }
  give_back_free_memory();
  PlanCoder coder(plan, assembler, store, sensitivity, options.threads);
  return calibrate(assembler.checkpoint(), sequences, calibration, coder);
}

}  // namespace sparing
