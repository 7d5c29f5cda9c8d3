#include "plan/database.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/sha256.h"
#include "base/system.h"
#include "formats/sparing_writer.h"
#include "lab/math/obq.h"
#include "plan/original_coder.h"

namespace sparing {
namespace {

using Json = nlohmann::ordered_json;

class CandidateCoder final : public OriginalCoder {
 public:
  CandidateCoder(const SurveyContext& context, const std::vector<SurveyedSite>& sites, CandidateDatabase& database)
      : OriginalCoder(context.checkpoint), context_(context), sites_(sites), database_(database) {
    for (std::size_t i = 0; i < sites.size(); ++i) index_.emplace(sites[i].site.name, i);
  }

  Status recall() {
    std::set<std::string> blocks;
    for (const SurveyedSite& site : sites_) blocks.insert(block_of(site.site.name));
    for (const std::string& block : blocks) {
      SPARING_TRY(const bool there, load(block));
      if (there) done_.insert(block);
    }
    complete_ = done_.size() == blocks.size();
    return {};
  }
  bool complete() const { return complete_; }
  double seconds() const { return seconds_; }
  double units() const { return units_; }

  bool wants_statistics(const std::string& site) const override {
    const SiteInfo& info = sites_[index_.at(site)].site;
    return info.role != SiteRole::embedding || info.tied;
  }
  Status finish_block(const std::string& block) override {
    BlockRecord record;
    Json damages = Json::array();
    for (const std::size_t i : sites_of(block)) {
      for (Candidate& candidate : database_.sites[i]) {
        damages.push_back(candidate.damage);
        if (candidate.option.setting.method == kKeep || alone(i)) continue;
        SPARING_TRY(record.weights.emplace_back(), encoded(i, candidate));
      }
    }
    record.report = damages.dump();
    SPARING_CHECK_OK(context_.journal.store(block, record));
    record = {};
    // From here on the weights are the file's pages, not this process's memory.
    SPARING_TRY(const bool there, load(block));
    return there ? Status() : internal_error("[journal] " + block + ": cannot be read back");
  }

 protected:
  bool is_done(const std::string& site) const override { return done_.contains(block_of(site)); }
  Status look(const std::string& name, const Statistics* statistics) override {
    const auto start = std::chrono::steady_clock::now();
    const std::size_t i = index_.at(name);
    SPARING_TRY(const std::vector<float> weight, site_values(checkpoint_, name));
    const SiteEvidence evidence = context_.evidence(sites_[i].site, weight, statistics);
    math::MetricCache metrics;
    std::optional<Statistics> shared;
    if (statistics != nullptr) {
      shared = *statistics;
      shared->metrics = &metrics;
    }
    for (Candidate& candidate : database_.sites[i]) {
      const Setting& setting = candidate.option.setting;
      if (setting.method == kKeep) continue;
      SPARING_TRY(const Method* method, find_method(setting.method));
      SPARING_TRY(const Params params, Params::make(*method, draft_params(setting)));
      const SiteProblem problem{.site = name,
                                .rows = sites_[i].site.rows,
                                .cols = sites_[i].site.cols,
                                .weight = weight,
                                .statistics = method->traits.calibration == "none" || !shared ? nullptr : &*shared,
                                .seed = seed_of(context_.seed, name),
                                .threads = context_.options.threads};
      SPARING_TRY(SiteResult result, method->apply(problem, params));
      candidate.weight = std::move(result.weight);
      candidate.damage = weight_damage(evidence, candidate.weight, context_.options.threads);
      if (alone(i)) {
        BlockRecord record;
        SPARING_TRY(record.weights.emplace_back(), encoded(i, candidate));
        SPARING_CHECK_OK(context_.journal.store(part_of(i, candidate), record));
      }
      units_ += coding_units(sites_[i].site);
    }
    seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return {};
  }

 private:
  std::vector<std::size_t> sites_of(const std::string& block) const {
    std::vector<std::size_t> found;
    for (std::size_t i = 0; i < sites_.size(); ++i) {
      if (block_of(sites_[i].site.name) == block) found.push_back(i);
    }
    return found;
  }

  /// An embedding or a head is as large as many blocks: its candidates are stored one by one, as they come.
  bool alone(std::size_t i) const { return block_of(sites_[i].site.name) == sites_[i].site.name; }
  std::string part_of(std::size_t i, const Candidate& candidate) const {
    return sites_[i].site.name + "-" + std::to_string(&candidate - database_.sites[i].data());
  }
  /// Takes the candidate's weight from memory.
  Result<Blob> encoded(std::size_t i, Candidate& candidate) const {
    SPARING_TRY(std::string bytes, encode_weight_record(sites_[i].site.name, candidate.weight));
    candidate.weight = {};
    return Blob::of(std::move(bytes));
  }

  Result<bool> load(const std::string& block) {
    SPARING_TRY(auto record, context_.journal.load(block));
    if (!record) return false;
    const Json damages = Json::parse(record->report, nullptr, false);
    std::size_t weight = 0, damage = 0;
    for (const std::size_t i : sites_of(block)) {
      for (Candidate& candidate : database_.sites[i]) {
        if (!damages.is_array() || damage >= damages.size() || !damages[damage].is_number()) return false;
        candidate.damage = damages[damage++].get<double>();
        if (candidate.option.setting.method == kKeep) continue;
        if (alone(i)) {
          SPARING_TRY(auto part, context_.journal.load(part_of(i, candidate)));
          if (!part || part->weights.size() != 1) return false;
          record->weights.push_back(std::move(part->weights.front()));
        }
        if (weight >= record->weights.size()) return false;
        auto read = decode_weight_record(record->weights[weight++]);
        const SiteInfo& site = sites_[i].site;
        if (!read || read->first != site.name || read->second.rows != site.rows || read->second.cols != site.cols) {
          return false;
        }
        candidate.weight = std::move(read->second);
        forget(candidate.weight);
      }
    }
    return true;
  }

  const SurveyContext& context_;
  const std::vector<SurveyedSite>& sites_;
  CandidateDatabase& database_;
  std::map<std::string, std::size_t> index_;
  std::set<std::string> done_;
  bool complete_ = false;
  double seconds_ = 0, units_ = 0;
};

}  // namespace

double coding_units(const SiteInfo& site) {
  return static_cast<double>(site.rows * site.cols * site.cols);
}

std::map<std::string, CodedWeight, std::less<>> CandidateDatabase::weights(
    const std::vector<SurveyedSite>& surveyed, const std::vector<std::size_t>& choice) const {
  std::map<std::string, CodedWeight, std::less<>> chosen;
  for (std::size_t i = 0; i < sites.size(); ++i) {
    const Candidate& candidate = sites[i][choice[i]];
    if (candidate.option.setting.method != kKeep) chosen.emplace(surveyed[i].site.name, candidate.weight);
  }
  return chosen;
}

Result<CandidateDatabase> code_candidates(const SurveyContext& context, const std::string& key,
                                          const std::vector<SurveyedSite>& sites,
                                          const std::vector<std::vector<std::size_t>>& wanted) {
  CandidateDatabase database;
  Json request = {{"candidates", key}};
  for (std::size_t i = 0; i < sites.size(); ++i) {
    std::vector<Candidate> candidates;
    Json settings = Json::array();
    for (const std::size_t o : wanted[i]) {
      candidates.push_back({sites[i].options[o], 0, {}});
      settings.push_back({sites[i].options[o].setting.method, sites[i].options[o].setting.params});
    }
    request["sites"].push_back({sites[i].site.name, std::move(settings)});
    database.sites.push_back(std::move(candidates));
  }
  const std::string text = request.dump();
  SPARING_CHECK_OK(context.journal.begin(sha256_hex(std::as_bytes(std::span(text))), text));
  CandidateCoder coder(context, sites, database);
  SPARING_CHECK_OK(coder.recall());
  if (!coder.complete()) {
    const auto start = std::chrono::steady_clock::now();
    SPARING_CHECK_OK(context.options.calibrate(context.checkpoint, context.sequences,
                                               calibration_options(context.options, context.checkpoint), coder));
    const double whole = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::size_t tokens = 0;
    for (const auto& sequence : context.sequences) tokens += sequence.size();
    database.seconds_per_token = std::max(0.0, whole - coder.seconds()) / static_cast<double>(tokens);
    if (coder.units() > 0) database.seconds_per_unit = coder.seconds() / coder.units();
    give_back_free_memory();
  }
  return database;
}

}  // namespace sparing
