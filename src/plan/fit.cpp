#include "plan/fit.h"

#include <fnmatch.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/log.h"
#include "base/rng.h"
#include "base/progress.h"
#include "base/sha256.h"
#include "base/units.h"
#include "plan/damage.h"
#include "plan/database.h"
#include "plan/evopress.h"
#include "plan/factors.h"
#include "plan/knapsack.h"
#include "plan/options.h"

namespace sparing {
namespace {

using Json = nlohmann::ordered_json;
using Choice = std::vector<std::size_t>;
using Table = std::vector<std::vector<KnapsackOption>>;

constexpr std::int64_t kSensitivityTokens = 4096, kSurveyTokens = 8192;
constexpr std::uint64_t kReferenceBytes = 512 * kMiB;  ///< most, of the original's logits on disk
constexpr std::int64_t kMostWindows = 16, kSampleWindows = 4;
constexpr std::size_t kSamples = 24, kNeighbours = 2;

std::string hash_of(const std::string& text) {
  return sha256_hex(std::as_bytes(std::span(text))).substr(0, 32);
}

/// "attn.q", "mlp.down", "embed": sites that share a correction.
std::string class_of(const std::string& site) {
  const std::string block = block_of(site);
  return block == site ? site : site.substr(block.size() + 1);
}

/// Every k-th sequence, so many tokens in all.
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

/// True damages that have been measured, kept in the journal.
class Measurements {
 public:
  Measurements(Journal& journal, std::string key) : journal_(journal), key_(std::move(key)) {
    if (const auto noted = journal_.note(key_)) known_ = Json::parse(*noted, nullptr, false);
    if (!known_.is_object()) known_ = Json::object();
  }
  std::optional<double> find(const std::string& what) const {
    const auto found = known_.find(what);
    if (found == known_.end() || !found->is_number()) return std::nullopt;
    return found->get<double>();
  }
  Status keep(const std::string& what, double value) {
    known_[what] = value;
    return journal_.keep_note(key_, known_.dump());
  }

 private:
  Journal& journal_;
  std::string key_;
  Json known_;
};

class Fit {
 public:
  Fit(const FitRequest& request, const Assembler& assembler, Journal& journal, const ExecuteOptions& options,
      std::string key)
      : request_(request),
        assembler_(assembler),
        checkpoint_(assembler.checkpoint()),
        journal_(journal),
        options_(options),
        key_(std::move(key)),
        measured_(journal, key_ + "-kl") {}

  Result<Plan> solve() {
    SPARING_CHECK_OK(list_options());
    SPARING_CHECK_OK(check_reachable());
    SPARING_CHECK_OK(look());
    SPARING_TRY(Choice choice, allocate(surveyed()));
    SPARING_CHECK_OK(code(choice));
    SPARING_CHECK_OK(correct());
    SPARING_TRY(choice, allocate(corrected()));
    SPARING_TRY(choice, search(std::move(choice)));
    SPARING_TRY(Plan plan, plan_of(options_of(choice)));
    return finish(std::move(plan), choice);
  }

 private:
  Result<OptionLimits> limits_of(const SiteInfo& site) const {
    OptionLimits limits;
    const bool linear = site.role == SiteRole::linear;
    const auto& methods = linear ? request_.methods : request_.embed_methods;
    if (!methods.empty()) limits.allowed["method"] = methods;
    const auto pin = [&](const char* name, const std::optional<std::int32_t>& value) {
      if (value) limits.allowed[name] = {std::to_string(*value)};
    };
    pin("bits", linear ? request_.bits : request_.embed_bits);
    pin("group", linear ? request_.group : request_.embed_group);
    if (linear) SPARING_CHECK_OK(narrow(limits, request_.base.linear.params));
    for (const SiteOverride& change : request_.base.overrides) {
      if (::fnmatch(change.pattern.c_str(), site.name.c_str(), 0) != 0) continue;
      SPARING_CHECK_OK(narrow(limits, change.settings));
    }
    return limits;
  }

  Status list_options() {
    const std::vector<SiteInfo> sites = weight_sites(checkpoint_);
    for (const SiteOverride& change : request_.base.overrides) {
      const auto matches = [&](const SiteInfo& site) {
        return ::fnmatch(change.pattern.c_str(), site.name.c_str(), 0) == 0;
      };
      if (std::ranges::none_of(sites, matches)) {
        return usage_error("[fit] --site '" + change.pattern + "' matches no site ('sparing inspect' lists them)");
      }
    }
    for (const SiteInfo& site : sites) {
      SPARING_TRY(const OptionLimits limits, limits_of(site));
      SPARING_TRY(const CodedWeight original, checkpoint_.weight(site.name));
      SPARING_TRY(auto options, site_options(site, limits, stored_bytes(original)));
      checkpoint_.forget(site.name);
      sites_.push_back({site, std::move(options), {}});
    }
    return {};
  }

  Plan plan_with(const std::vector<SiteOption>& chosen) const {
    Plan plan;
    plan.model = checkpoint_.path().filename().string();
    plan.model_hash = assembler_.model_hash();
    plan.seed = request_.base.seed;
    plan.calibration = request_.base.calibration;
    for (std::size_t i = 0; i < sites_.size(); ++i) {
      plan.sites.push_back(
          {sites_[i].site.name, "weight", chosen[i].setting.method, chosen[i].setting.params, {}, std::nullopt});
    }
    return plan;
  }

  Result<Plan> plan_of(const std::vector<SiteOption>& chosen) const {
    Plan plan = plan_with(chosen);
    SPARING_TRY(const auto sites, bind_plan(plan, checkpoint_, assembler_.model_hash()));
    if (std::ranges::none_of(sites, &BoundSite::calibrates)) plan.calibration = {};
    SPARING_CHECK_OK(assembler_.predict(plan, sites));
    plan.budgets[std::string(kWeights)] = request_.budget;
    return plan;
  }

  /// What the directory takes besides its sites, with this choice.
  Result<std::uint64_t> overhead(const std::vector<SiteOption>& chosen) const {
    SPARING_TRY(const Plan plan, plan_of(chosen));
    return plan.totals.at(std::string(kWeights)) - site_cost(plan, kWeights);
  }

  Status check_reachable() {
    std::vector<SiteOption> least;
    for (const SurveyedSite& site : sites_) least.push_back(site.options.front());
    SPARING_TRY(const Plan plan, plan_of(least));
    const std::uint64_t bytes = plan.totals.at(std::string(kWeights));
    overhead_ = bytes - site_cost(plan, kWeights);
    if (bytes <= request_.budget) return {};
    return resource_error("[fit] weights=" + format_count(request_.budget) + " bytes: the smallest reachable is " +
                          std::to_string(bytes) + " bytes with metadata");
  }

  Status look() {
    if (!options_.calibrate || !options_.sensitivity) {
      return usage_error("[fit] this program cannot calibrate: use sparing-lab");
    }
    SPARING_TRY(text_, calibration_tokens(request_.base.calibration, assembler_.checkpoint_ptr(),
                                          assembler_.model_hash(), request_.base.seed, options_.threads, &journal_));
    looked_at_ = some_of(text_.sequences, kSurveyTokens);
    SPARING_CHECK_OK(sense());
    context_.emplace(SurveyContext{checkpoint_, looked_at_, sensitivity_,
                                   token_frequencies(text_.sequences, checkpoint_.config().vocab), request_.base.seed,
                                   journal_, options_});
    log_info("[fit] estimating what each option costs");
    SPARING_CHECK_OK(drop_worthless(checkpoint_, sites_, request_.base.seed, options_.threads));
    return survey(*context_, key_ + "-survey", sites_);
  }

  Status sense() {
    const std::string key = key_ + "-sensitivity";
    if (const auto noted = journal_.note(key)) {
      const Json note = Json::parse(*noted, nullptr, false);
      if (note.is_object() && note.contains("outputs") && note.contains("embedding")) {
        for (const auto& [site, values] : note["outputs"].items()) {
          sensitivity_.outputs[site] = values.get<std::vector<float>>();
        }
        sensitivity_.embedding = note["embedding"].get<std::vector<float>>();
        return {};
      }
    }
    log_info("[fit] measuring how much the predictions depend on each output");
    SPARING_TRY(sensitivity_, options_.sensitivity(checkpoint_, some_of(text_.sequences, kSensitivityTokens),
                                                   request_.base.seed, calibration_options(options_, checkpoint_)));
    return journal_.keep_note(key,
                              Json{{"outputs", sensitivity_.outputs}, {"embedding", sensitivity_.embedding}}.dump());
  }

  Table surveyed() const {
    Table table;
    for (const SurveyedSite& site : sites_) {
      auto& options = table.emplace_back();
      for (std::size_t o = 0; o < site.options.size(); ++o) options.push_back({site.options[o].bytes, site.damage[o]});
    }
    return table;
  }
  std::vector<SiteOption> options_of(const Choice& choice) const {
    std::vector<SiteOption> chosen;
    for (std::size_t i = 0; i < choice.size(); ++i) {
      chosen.push_back(database_.sites.empty() ? sites_[i].options[choice[i]]
                                               : database_.sites[i][choice[i]].option);
    }
    return chosen;
  }

  /// The exact optimum whose whole directory fits: metadata depends on the choice, so what it takes is learnt.
  Result<Choice> allocate(const Table& table) {
    for (int round = 0; round < 16; ++round) {
      const auto answer = solve_knapsack(table, request_.budget - std::min(request_.budget, overhead_));
      if (!answer) break;
      SPARING_TRY(const std::uint64_t real, overhead(options_of(answer->choice)));
      if (answer->cost + real <= request_.budget) return answer->choice;
      overhead_ = std::max(overhead_ + 1, real);
    }
    return resource_error("[fit] weights=" + format_count(request_.budget) +
                          " bytes: nothing fits with its metadata: raise the budget a little");
  }

  /// Codes the options around a choice: for each method at a site, its neighbours along the trade-off.
  Status code(const Choice& choice) {
    std::vector<std::vector<std::size_t>> wanted;
    for (std::size_t i = 0; i < sites_.size(); ++i) wanted.push_back(around(sites_[i], choice[i]));
    log_info("[fit] coding candidates");
    SPARING_TRY(database_, code_candidates(*context_, key_, sites_, wanted));
    return {};
  }

  std::vector<std::size_t> around(const SurveyedSite& site, std::size_t chosen) const {
    std::map<std::string, std::vector<std::size_t>> frontiers;  // by method, by ascending bytes, damage falling
    for (std::size_t o = 0; o < site.options.size(); ++o) {
      auto& frontier = frontiers[site.options[o].setting.method];
      if (o != chosen && !frontier.empty() && !(site.damage[o] < site.damage[frontier.back()])) continue;
      frontier.push_back(o);
    }
    std::vector<std::size_t> wanted;
    const std::size_t reach = site.site.role == SiteRole::linear ? kNeighbours : 2 * kNeighbours;
    for (const auto& [method, frontier] : frontiers) {
      std::size_t at = 0;  // the last that is no dearer than what was chosen
      while (at + 1 < frontier.size() && site.options[frontier[at + 1]].bytes <= site.options[chosen].bytes) ++at;
      const std::size_t first = at - std::min(at, reach), last = std::min(frontier.size(), at + reach + 1);
      wanted.insert(wanted.end(), frontier.begin() + static_cast<std::ptrdiff_t>(first),
                    frontier.begin() + static_cast<std::ptrdiff_t>(last));
    }
    std::ranges::sort(wanted);
    wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
    return wanted;
  }

  Status start_meter() {
    if (meter_) return {};
    SPARING_TRY(const auto tokenizer, Tokenizer::load(checkpoint_.tokenizer()));
    const Token bos = tokenizer->adds_bos() ? tokenizer->bos() : -1;
    const std::int64_t context = request_.base.calibration.length;
    const std::uint64_t each = static_cast<std::uint64_t>(checkpoint_.config().vocab) *
                               static_cast<std::uint64_t>(std::max<std::int64_t>(context / 2, 1)) * sizeof(float);
    const auto windows = std::clamp<std::int64_t>(static_cast<std::int64_t>(kReferenceBytes / each), 2, kMostWindows);
    SPARING_TRY(meter_, DamageMeter::create(assembler_.checkpoint_ptr(), text_.held_out, context, windows, bos,
                                            options_.threads, journal_.folder()));
    return {};
  }

  Result<double> kl(const Choice& choice, std::int64_t windows) {
    std::string what = std::to_string(windows);
    for (const std::size_t o : choice) what += ' ' + std::to_string(o);
    what = hash_of(what);
    if (const auto known = measured_.find(what)) return *known;
    SPARING_CHECK_OK(start_meter());
    SPARING_TRY(const Estimate damage, meter_->kl(database_.weights(sites_, choice), windows));
    SPARING_CHECK_OK(measured_.keep(what, damage.value));
    return damage.value;
  }

  Table expected() const {
    Table table;
    for (const auto& candidates : database_.sites) {
      auto& options = table.emplace_back();
      for (const Candidate& candidate : candidates) options.push_back({candidate.option.bytes, candidate.damage});
    }
    return table;
  }
  Table corrected() const {
    Table table = expected();
    for (std::size_t i = 0; i < table.size(); ++i) {
      for (KnapsackOption& option : table[i]) option.damage *= factor(i);
    }
    return table;
  }
  double factor(std::size_t site) const { return factors_.by_class[classes_[site]]; }

  /// Random assignments near the best one, measured whole.
  Status correct() {
    std::map<std::string, std::size_t> names;
    for (const SurveyedSite& site : sites_) {
      classes_.push_back(names.try_emplace(class_of(site.site.name), names.size()).first->second);
    }
    const Table table = expected();
    Rng rng(request_.base.seed, 0x6a6f696e74);
    std::vector<JointSample> samples;
    Progress progress("checking damages add up", static_cast<std::int64_t>(kSamples), "sample");
    for (std::size_t n = 0; n < kSamples; ++n) {
      Table shaken = table;
      std::vector<double> by_class(names.size());
      // The first is the best assignment itself.
      for (double& f : by_class) f = n == 0 ? 1.0 : std::exp(0.7 * rng.normal());
      for (std::size_t i = 0; i < shaken.size(); ++i) {
        const double f = by_class[classes_[i]] * (n == 0 ? 1.0 : std::exp(0.3 * rng.normal()));
        for (KnapsackOption& option : shaken[i]) option.damage *= f;
      }
      SPARING_TRY(const Choice choice, allocate(shaken));
      JointSample sample;
      sample.expected.resize(names.size());
      for (std::size_t i = 0; i < choice.size(); ++i) sample.expected[classes_[i]] += table[i][choice[i]].damage;
      SPARING_TRY(sample.measured, kl(choice, kSampleWindows));
      sample.measured = std::max(sample.measured, 1e-9);
      log_debug("[fit] sample " + std::to_string(n) + ": expected " +
                std::to_string(std::accumulate(sample.expected.begin(), sample.expected.end(), 0.0)) + ", measured " +
                std::to_string(sample.measured));
      samples.push_back(std::move(sample));
      progress.advance(1);
    }
    progress.finish();
    factors_ = fit_factors(samples, names.size());
    std::string text;
    for (const auto& [name, index] : names) text += " " + name + " " + std::to_string(factors_.by_class[index]);
    log_debug("[fit] factors:" + text + "; residual " + std::to_string(factors_.residual));
    return {};
  }

  Result<Choice> search(Choice choice) {
    return choice;
  }

  Result<Plan> finish(Plan plan, const Choice& choice) {
    double sum = 0;
    const Table table = corrected();
    for (std::size_t i = 0; i < choice.size(); ++i) {
      plan.sites[i].damage = table[i][choice[i]].damage;
      sum += table[i][choice[i]].damage;
    }
    SPARING_TRY(const double measured, kl(choice, kSampleWindows));
    log_info("[fit] predicted KL " + std::to_string(sum) + " +- " + std::to_string(100 * factors_.residual) +
             " %, measured on drafts " + std::to_string(measured));
    plan.damage = measured;
    return plan;
  }

  const FitRequest& request_;
  const Assembler& assembler_;
  const Checkpoint& checkpoint_;
  Journal& journal_;
  const ExecuteOptions& options_;
  std::string key_;
  Measurements measured_;
  std::vector<SurveyedSite> sites_;
  std::uint64_t overhead_ = 0;
  CalibrationTokens text_;
  std::vector<std::vector<Token>> looked_at_;
  Sensitivity sensitivity_;
  std::optional<SurveyContext> context_;
  CandidateDatabase database_;
  std::unique_ptr<DamageMeter> meter_;
  std::vector<std::size_t> classes_;
  DamageFactors factors_;
};

/// Everything that decides the answer, as a key for the journal's notes.
std::string note_key(const FitRequest& request, const std::string& model_hash) {
  Json key = {{"fit", request.budget},
              {"model", model_hash},
              {"methods", request.methods},
              {"embed_methods", request.embed_methods},
              {"bits", request.bits.value_or(0)},
              {"group", request.group.value_or(-1)},
              {"embed_bits", request.embed_bits.value_or(0)},
              {"embed_group", request.embed_group.value_or(-1)},
              {"linear", request.base.linear.params},
              {"seed", request.base.seed},
              {"tokens", request.base.calibration.tokens},
              {"length", request.base.calibration.length},
              {"self", request.base.calibration.self}};
  for (const SiteOverride& change : request.base.overrides) {
    key["overrides"].push_back({{"pattern", change.pattern}, {"settings", change.settings}});
  }
  for (const CalibrationFile& file : request.base.calibration.files) key["texts"].push_back(file.sha256);
  return "fit-" + hash_of(key.dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace

Result<std::uint64_t> parse_fit(const std::string& text) {
  const auto refused = [&](const std::string& why) {
    return usage_error("[fit] '" + text + "': " + why + "; write --fit weights=72MiB");
  };
  std::optional<std::uint64_t> budget;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    begin = end + 1;
    const auto equals = part.find('=');
    const std::string resource = part.substr(0, equals);
    if (equals == std::string::npos) return refused("'" + part + "' names no amount");
    if (resource != kWeights) return refused("a budget of '" + resource + "' is not known here");
    if (budget) return refused("weights is given twice");
    SPARING_TRY(budget, parse_bytes(part.substr(equals + 1)));
    if (*budget == 0) return refused("a budget of zero holds no model");
  }
  return *budget;
}

Result<Plan> fit(const FitRequest& request, const Assembler& assembler, Journal& journal,
                 const ExecuteOptions& options) {
  const std::string key = note_key(request, assembler.model_hash());
  if (const auto noted = journal.note(key)) {
    if (auto plan = plan_from_json(*noted); plan.ok()) return plan;
  }
  SPARING_TRY(Plan plan, Fit(request, assembler, journal, options, key).solve());
  SPARING_CHECK_OK(journal.keep_note(key, plan_to_json(plan)));
  return plan;
}

}  // namespace sparing
