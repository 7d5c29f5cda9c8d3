#include "plan/share_out.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "base/log.h"
#include "base/system.h"
#include "plan/original_coder.h"
#include "plan/survey.h"

namespace sparing {
namespace {

bool asks(const BoundSite& site) {
  return site.method != nullptr && site.method->sharing != nullptr && site.method->sharing->wanted(site.params);
}

/// The salience of each row of the sites that ask.
class SalienceCoder final : public OriginalCoder {
 public:
  SalienceCoder(const Checkpoint& checkpoint, const std::vector<BoundSite>& sites, const Sensitivity& sensitivity,
                std::uint64_t seed, int threads)
      : OriginalCoder(checkpoint), sensitivity_(sensitivity), seed_(seed), threads_(threads) {
    for (const BoundSite& site : sites)
      if (asks(site)) sites_.emplace(site.site.name, &site);
  }
  bool wants_statistics(const std::string& site) const override { return sites_.contains(site); }
  Status finish_block(const std::string&) override { return {}; }
  const std::vector<double>& of(const std::string& site) const { return found_.at(site); }

 protected:
  bool is_done(const std::string&) const override { return false; }
  Status look(const std::string& name, const Statistics* statistics) override {
    const auto found = sites_.find(name);
    if (found == sites_.end()) return {};
    const BoundSite& site = *found->second;
    SPARING_TRY(const std::vector<float> weight, site_values(checkpoint_, name));
    Statistics weighed = *statistics;
    if (const auto outputs = sensitivity_.outputs.find(name); outputs != sensitivity_.outputs.end())
      weighed.sensitivity = outputs->second;
    const SiteProblem problem{.site = name,
                              .rows = site.site.rows,
                              .cols = site.site.cols,
                              .weight = weight,
                              .statistics = &weighed,
                              .seed = seed_of(seed_, name),
                              .threads = threads_};
    SPARING_TRY(found_[name], site.method->sharing->salience(problem, site.params));
    return {};
  }

 private:
  const Sensitivity& sensitivity_;
  std::uint64_t seed_;
  int threads_;
  std::map<std::string, const BoundSite*> sites_;
  std::map<std::string, std::vector<double>> found_;
};

}  // namespace

std::vector<std::int64_t> shared_counts(const std::vector<std::vector<double>>& salience, std::int64_t all) {
  std::vector<std::pair<double, std::size_t>> rows;
  for (std::size_t site = 0; site < salience.size(); ++site)
    for (const double value : salience[site]) rows.emplace_back(value, site);
  std::ranges::stable_sort(rows, [](const auto& a, const auto& b) { return a.first > b.first; });
  rows.resize(std::min(rows.size(), static_cast<std::size_t>(std::max<std::int64_t>(all, 0))));
  std::vector<std::int64_t> counts(salience.size());
  for (const auto& [value, site] : rows) ++counts[site];
  return counts;
}

Status share_out(Plan& plan, const Assembler& assembler, Journal* journal, const ExecuteOptions& options) {
  const Checkpoint& checkpoint = assembler.checkpoint();
  SPARING_TRY(const std::vector<BoundSite> sites, bind_plan(plan, checkpoint, assembler.model_hash()));
  std::map<const Method*, std::vector<const BoundSite*>> competing;
  for (const BoundSite& site : sites)
    if (asks(site)) competing[site.method].push_back(&site);
  if (competing.empty()) return {};
  if (!options.calibrate || !options.sensitivity)
    return usage_error("[compress] this program cannot calibrate: use sparing-lab");
  SPARING_TRY(const CalibrationTokens text,
              calibration_tokens(plan.calibration, assembler.original_ptr(), assembler.model_hash(), plan.seed,
                                 options.threads, journal));
  log_info("[compress] looking for the outputs that the predictions depend on most");
  const CalibrationOptions calibration = calibration_options(options, checkpoint);
  SPARING_TRY(const Sensitivity sensitivity,
              options.sensitivity(checkpoint, some_of(text.sequences, kSensitivityTokens), plan.seed, calibration));
  SalienceCoder saliences(checkpoint, sites, sensitivity, plan.seed, options.threads);
  SPARING_CHECK_OK(options.calibrate(checkpoint, some_of(text.sequences, kSurveyTokens), calibration, saliences));
  give_back_free_memory();
  for (const auto& [method, members] : competing) {
    std::vector<std::vector<double>> salience;
    double all = 0;
    for (const BoundSite* site : members) {
      salience.push_back(saliences.of(site->site.name));
      all += method->sharing->share(site->params) * static_cast<double>(site->site.rows);
    }
    const std::vector<std::int64_t> counts = shared_counts(salience, std::llround(all));
    for (std::size_t i = 0; i < members.size(); ++i) {
      SiteChoice& choice = *std::ranges::find(plan.sites, members[i]->site.name, &SiteChoice::site);
      for (auto& [name, value] : choice.params)
        if (name == method->sharing->count) value = std::to_string(counts[i]);
    }
  }
  return {};
}

}  // namespace sparing
