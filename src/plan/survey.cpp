#include "plan/survey.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "base/log.h"
#include "base/system.h"
#include "plan/original_coder.h"

namespace sparing {
namespace {

using Json = nlohmann::json;

class SurveyCoder final : public OriginalCoder {
 public:
  SurveyCoder(const SurveyContext& context, const std::string& key, std::vector<SurveyedSite>& sites)
      : OriginalCoder(context.checkpoint), context_(context), key_(key) {
    for (SurveyedSite& site : sites) {
      sites_.emplace(site.site.name, &site);
      blocks_.insert(block_of(site.site.name));
    }
    for (const std::string& block : blocks_) recall(block);
  }
  bool complete() const { return blocks_.size() == done_.size(); }

  bool wants_statistics(const std::string& site) const override {
    const SiteInfo& info = sites_.at(site)->site;
    return info.role != SiteRole::embedding || info.tied;
  }
  Status finish_block(const std::string& block) override {
    Json note = Json::object();
    for (const auto& [name, site] : sites_) {
      if (block_of(name) == block) note[name] = site->damage;
    }
    return context_.journal.keep_note(key_ + "-" + block, note.dump());
  }

 protected:
  bool is_done(const std::string& site) const override { return done_.contains(block_of(site)); }
  Status look(const std::string& name, const Statistics* statistics) override {
    SurveyedSite& site = *sites_.at(name);
    SPARING_TRY(const std::vector<float> weight, site_values(checkpoint_, name));
    SPARING_TRY(site.damage,
                estimate_damage(context_.evidence(site.site, weight, statistics), site.options, seed(name), threads()));
    return {};
  }

 private:
  std::uint64_t seed(const std::string& name) const { return seed_of(context_.seed, name); }
  int threads() const { return context_.options.threads; }

  void recall(const std::string& block) {
    const auto noted = context_.journal.note(key_ + "-" + block);
    if (!noted) return;
    const Json note = Json::parse(*noted, nullptr, false);
    if (!note.is_object()) return;
    for (const auto& [name, site] : sites_) {
      if (block_of(name) != block) continue;
      if (!note.contains(name) || !note[name].is_array() || note[name].size() != site->options.size()) return;
      std::vector<double> damage;
      for (const Json& value : note[name]) {
        if (!value.is_number()) return;
        damage.push_back(value.get<double>());
      }
      site->damage = std::move(damage);
    }
    done_.insert(block);
  }

  const SurveyContext& context_;
  std::string key_;
  std::map<std::string, SurveyedSite*> sites_;
  std::set<std::string> blocks_, done_;
};

}  // namespace

SiteEvidence SurveyContext::evidence(const SiteInfo& site, std::span<const float> weight,
                                     const Statistics* statistics) const {
  SiteEvidence e;
  e.site = &site;
  e.weight = weight;
  e.statistics = statistics;
  if (const auto found = sensitivity.outputs.find(site.name); found != sensitivity.outputs.end()) {
    e.outputs = found->second;
  }
  if (site.role == SiteRole::embedding) {
    e.lookups = sensitivity.embedding;
    e.frequencies = frequencies;
  }
  return e;
}

Status survey(const SurveyContext& context, const std::string& key, std::vector<SurveyedSite>& sites) {
  SurveyCoder coder(context, key, sites);
  if (coder.complete()) return {};
  SPARING_CHECK_OK(context.options.calibrate(context.checkpoint, context.sequences,
                                             calibration_options(context.options, context.checkpoint), coder));
  give_back_free_memory();
  return {};
}

std::vector<std::vector<Token>> some_of(const std::vector<std::vector<Token>>& sequences, std::int64_t tokens) {
  std::vector<std::vector<Token>> some;
  const auto length = static_cast<std::int64_t>(sequences.front().size());
  const auto count = std::clamp<std::int64_t>(tokens / std::max<std::int64_t>(length, 1), 1,
                                              static_cast<std::int64_t>(sequences.size()));
  for (std::int64_t i = 0; i < count; ++i) {
    some.push_back(sequences[static_cast<std::size_t>(i * static_cast<std::int64_t>(sequences.size()) / count)]);
  }
  return some;
}

Result<Sensitivity> noted_sensitivity(const Checkpoint& checkpoint, const std::vector<std::vector<Token>>& sequences,
                                      std::uint64_t seed, const std::string& key, Journal& journal,
                                      const ExecuteOptions& options) {
  if (const auto noted = journal.note(key)) {
    const Json note = Json::parse(*noted, nullptr, false);
    if (note.is_object() && note.contains("outputs") && note.contains("embedding")) {
      Sensitivity known;
      for (const auto& [site, values] : note["outputs"].items()) known.outputs[site] = values.get<std::vector<float>>();
      known.embedding = note["embedding"].get<std::vector<float>>();
      return known;
    }
  }
  SPARING_TRY(Sensitivity found,
              options.sensitivity(checkpoint, sequences, seed, calibration_options(options, checkpoint)));
  give_back_free_memory();
  SPARING_CHECK_OK(journal.keep_note(key, Json{{"outputs", found.outputs}, {"embedding", found.embedding}}.dump()));
  return found;
}

Status drop_worthless(const Checkpoint& checkpoint, std::vector<SurveyedSite>& sites, std::uint64_t seed, int threads) {
  using Shape = std::tuple<SiteRole, bool, std::int64_t, std::int64_t, std::vector<ParamList>>;
  std::map<Shape, std::vector<std::size_t>> alike;
  for (std::size_t i = 0; i < sites.size(); ++i) {
    std::vector<ParamList> settings;
    for (const SiteOption& option : sites[i].options) settings.push_back(option.setting.params);
    const SiteInfo& site = sites[i].site;
    alike[{site.role, site.tied, site.rows, site.cols, std::move(settings)}].push_back(i);
  }
  for (const auto& [shape, members] : alike) {
    std::set<std::size_t> looked_at = {members.front(), members[members.size() / 2], members.back()};
    std::vector<std::vector<float>> weights;
    for (const std::size_t i : looked_at) {
      SPARING_TRY(weights.emplace_back(), site_values(checkpoint, sites[i].site.name));
    }
    const SurveyedSite& first = sites[members.front()];
    SPARING_TRY(const std::vector<bool> kept, worthwhile(first.site, weights, first.options, seed, threads));
    for (const std::size_t i : members) {
      std::vector<SiteOption> left;
      for (std::size_t o = 0; o < kept.size(); ++o) {
        if (kept[o]) left.push_back(std::move(sites[i].options[o]));
      }
      sites[i].options = std::move(left);
    }
    log_debug("[fit] " + first.site.name + " and its like: " + std::to_string(first.options.size()) + " of " +
              std::to_string(kept.size()) + " options are worth a look");
  }
  return {};
}

CalibrationOptions calibration_options(const ExecuteOptions& options, const Checkpoint& checkpoint) {
  CalibrationOptions calibration;
  calibration.threads = options.threads;
  calibration.device = options.device;
  calibration.scratch = options.scratch;
  calibration.bf16 = true;
  if (options.max_ram == 0) return calibration;
  std::map<std::string, std::uint64_t> weights;
  std::uint64_t largest = 0, widest = 0;
  for (const SiteInfo& site : weight_sites(checkpoint)) {
    std::uint64_t& sum = weights[block_of(site.name)];
    sum += static_cast<std::uint64_t>(site.rows * site.cols);
    largest = std::max(largest, sum);
    widest = std::max(widest, static_cast<std::uint64_t>(site.cols));
  }
  const std::uint64_t besides = resident_bytes() + 4 * (2 * largest + 3 * widest * widest);
  calibration.max_ram = options.max_ram > besides ? options.max_ram - besides : 1;
  return calibration;
}

std::vector<float> token_frequencies(const std::vector<std::vector<Token>>& sequences, std::int32_t vocab) {
  std::vector<float> shares(static_cast<std::size_t>(vocab));
  std::size_t total = 0;
  for (const auto& sequence : sequences) {
    total += sequence.size();
    for (const Token token : sequence) {
      if (token >= 0 && token < vocab) shares[static_cast<std::size_t>(token)] += 1;
    }
  }
  for (float& share : shares) share /= static_cast<float>(std::max<std::size_t>(total, 1));
  return shares;
}

}  // namespace sparing
