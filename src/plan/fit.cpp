#include "plan/fit.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/rng.h"
#include "base/units.h"
#include "plan/allocate.h"
#include "plan/anchors.h"
#include "plan/coding_cost.h"
#include "plan/damage.h"
#include "plan/database.h"
#include "plan/evopress.h"
#include "plan/factors.h"
#include "plan/lossless.h"
#include "plan/measurements.h"
#include "plan/speed_table.h"

namespace sparing {
namespace {

using Json = nlohmann::ordered_json;

using Table = PriceTable;

constexpr std::int64_t kSensitivityTokens = 4096, kSurveyTokens = 8192;
constexpr std::uint64_t kReferenceBytes = 512 * kMiB;  ///< most, of the original's logits on disk
constexpr std::int64_t kMostWindows = 16, kSampleWindows = 4;
constexpr std::size_t kOffspring = 16;
/// A finished model may miss the speed by a tenth; drafts must be half as near.
constexpr double kTimeTolerance = 1.05;
constexpr std::size_t kSamples = 16, kNeighbours = 2;
constexpr std::size_t kStates = 20'000, kSampleStates = 1'000;  ///< of the dynamic program

class Fit {
 public:
  /// `most`: bytes of the directory, under all budgets of bytes.
  Fit(const FitRequest& request, std::uint64_t most, const Assembler& assembler, Journal& journal,
      const ExecuteOptions& options, std::string key)
      : request_(request),
        most_(most),
        assembler_(assembler),
        checkpoint_(assembler.checkpoint()),
        journal_(journal),
        options_(options),
        key_(std::move(key)),
        measured_(journal, key_ + "-kl") {}

  Result<Plan> solve() {
    SPARING_TRY(auto lossless, lossless_plan(request_, most_, assembler_));
    if (lossless) return std::move(*lossless);
    SPARING_TRY(sites_, list_options(request_, checkpoint_, options_.threads));
    SPARING_CHECK_OK(drop_worthless(checkpoint_, sites_, request_.base.seed, options_.threads));
    SPARING_CHECK_OK(check_reachable());
    SPARING_CHECK_OK(look());
    SPARING_CHECK_OK(time_options());
    SPARING_TRY(Choice choice, allocate(surveyed()));
    SPARING_CHECK_OK(anchor_estimates(choice));
    SPARING_TRY(choice, allocate(surveyed()));
    SPARING_CHECK_OK(code(choice));
    SPARING_CHECK_OK(correct());
    SPARING_TRY(choice, allocate_in_time());
    SPARING_TRY(choice, search(std::move(choice)));
    return finish(choice);
  }

 private:
  Result<Plan> plan_of(const std::vector<SiteOption>& chosen) const {
    Plan plan = plan_with(request_, assembler_, sites_, chosen);
    SPARING_TRY(const auto sites, bind_plan(plan, checkpoint_, assembler_.model_hash()));
    if (std::ranges::none_of(sites, &BoundSite::calibrates)) plan.calibration = {};
    state_budgets(plan, request_.budgets);
    SPARING_CHECK_OK(assembler_.predict(plan, sites));
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
    if (bytes <= most_) return {};
    const bool of_ram = request_.budgets.weights == 0 || most_ < request_.budgets.weights;
    return resource_error("[fit] " + std::string(of_ram ? "ram leaves " : "weights=") + format_count(most_) +
                          " bytes: the smallest reachable is " + std::to_string(bytes) + " bytes with metadata");
  }

  Status look() {
    if (!options_.calibrate || !options_.sensitivity) {
      return usage_error("[fit] this program cannot calibrate: use sparing-lab");
    }
    SPARING_TRY(text_, calibration_tokens(request_.base.calibration, assembler_.checkpoint_ptr(),
                                          assembler_.model_hash(), request_.base.seed, options_.threads, &journal_));
    looked_at_ = some_of(text_.sequences, kSurveyTokens);
    log_info("[fit] measuring how much the predictions depend on each output");
    SPARING_TRY(sensitivity_, noted_sensitivity(checkpoint_, some_of(text_.sequences, kSensitivityTokens),
                                                request_.base.seed, key_ + "-sensitivity", journal_, options_));
    context_.emplace(SurveyContext{checkpoint_, looked_at_, sensitivity_,
                                   token_frequencies(text_.sequences, checkpoint_.config().vocab), request_.base.seed,
                                   journal_, options_});
    log_info("[fit] estimating what each option costs");
    return survey(*context_, key_ + "-survey", sites_);
  }

  /// Nanoseconds of every option, where a speed is asked for.
  Status time_options() {
    if (!(request_.budgets.speed > 0)) return {};
    log_info("[fit] timing each coding and shape on this machine");
    SpeedTable speeds(journal_, key_ + "-times", checkpoint_.config(), options_.threads);
    for (const SurveyedSite& site : sites_) {
      auto& times = times_.emplace_back();
      for (const SiteOption& option : site.options) {
        if (interrupted()) return interrupted_error("fit", kKept);
        SPARING_TRY(const auto terms, terms_of(site.site, option.setting));
        SPARING_TRY(times.emplace_back(), speeds.nanoseconds(site.site, terms));
      }
      SPARING_CHECK_OK(speeds.keep());
    }
    return {};
  }
  Result<std::vector<CodecSpec>> terms_of(const SiteInfo& site, const Setting& setting) const {
    if (setting.method != kKeep) {
      SPARING_TRY(const Method* method, find_method(setting.method));
      SPARING_TRY(const Params params, Params::make(*method, setting.params));
      return method->codings(params, site.rows, site.cols);
    }
    SPARING_TRY(const CodedWeight kept, checkpoint_.weight(site.name));
    std::vector<CodecSpec> terms;
    for (const Term& term : kept.terms) terms.push_back(term.spec);
    return terms;
  }

  Table surveyed() const {
    Table table;
    for (std::size_t i = 0; i < sites_.size(); ++i) {
      auto& options = table.emplace_back();
      for (std::size_t o = 0; o < sites_[i].options.size(); ++o) {
        options.push_back({sites_[i].options[o].bytes, times_.empty() ? 0 : times_[i][o], sites_[i].damage[o]});
      }
    }
    return table;
  }
  std::vector<SiteOption> options_of(const Choice& choice) const {
    std::vector<SiteOption> chosen;
    for (std::size_t i = 0; i < choice.size(); ++i) {
      chosen.push_back(database_.sites.empty() ? sites_[i].options[choice[i]] : database_.sites[i][choice[i]].option);
    }
    return chosen;
  }

  /// The optimum whose whole directory fits: metadata depends on the choice, so what it takes is learnt.
  Result<Choice> allocate(const Table& table, std::size_t states = kStates) {
    std::uint64_t besides = overhead_;
    const auto speed_binds = times_.empty() ? std::nullopt : std::optional(time_left());
    for (int round = 0; round < 16 && besides < most_; ++round) {
      SPARING_TRY(const auto choice, choose(table, most_ - besides, speed_binds, states));
      if (!choice) break;
      SPARING_TRY(const std::uint64_t real, overhead(options_of(*choice)));
      if (bytes_of(table, *choice) + real <= most_) return *choice;
      besides = std::max(besides + 64, real);
    }
    // A budget that holds the cheapest plan and hardly more.
    const Choice least(table.size(), 0);
    if (times_.empty()) {
      SPARING_TRY(const std::uint64_t real, overhead(options_of(least)));
      if (bytes_of(table, least) + real <= most_) return least;
      return resource_error("[fit] " + format_count(most_) +
                            " bytes: nothing fits with its metadata: raise the budget a little");
    }
    return too_slow(table);
  }
  double time_asked() const { return 1e9 / request_.budgets.speed; }
  double time_left() const { return time_asked() - besides_products_; }
  Error too_slow(const Table& table) const {
    double least = besides_products_;
    for (const auto& options : table) {
      least += std::ranges::min(options, {}, &Priced::nanoseconds).nanoseconds;
    }
    char text[200];
    std::snprintf(text, sizeof text,
                  "[fit] speed=%.4gtok/s: not within the bytes asked for; the fastest codings come to about %.4g tok/s "
                  "on this machine: ask for less, or allow more bytes",
                  request_.budgets.speed, 1e9 / least);
    return resource_error(text);
  }

  /// With speed asked for: what a token takes besides products is learnt from drafts, and the choice is made again.
  Result<Choice> allocate_in_time() {
    SPARING_TRY(Choice choice, allocate(corrected()));
    if (times_.empty()) return choice;
    double seconds = 0;
    for (int round = 0; round < 4; ++round) {
      SPARING_TRY(seconds, decode_time(choice));
      if (seconds * 1e9 <= kTimeTolerance * time_asked()) return choice;
      besides_products_ = seconds * 1e9 - time_of(corrected(), choice);
      if (!(time_left() > 0)) break;
      log_info("[fit] " + std::to_string(1 / seconds) + " tok/s on drafts: choosing again");
      SPARING_TRY(choice, allocate(corrected()));
    }
    return too_slow(corrected());
  }
  /// Seconds a token, measured on drafts of this choice.
  Result<double> decode_time(const Choice& choice) {
    std::string what = "decode";
    for (const std::size_t o : choice) what += ' ' + std::to_string(o);
    what = short_hash(what);
    if (const auto known = measured_.find(what)) return *known;
    SPARING_TRY(const double seconds,
                decode_seconds(assembler_.checkpoint_ptr(), database_.weights(sites_, choice), options_.threads));
    SPARING_CHECK_OK(measured_.keep(what, seconds));
    return seconds;
  }

  /// Brings the estimates near what is measured of each class of sites at this choice.
  Status anchor_estimates(const Choice& choice) {
    classes_ = classes_of(sites_);
    log_info("[fit] measuring the damage of each kind of site");
    const auto measure = [&](const std::string& what, const auto& weights) {
      return measured("alone " + what, weights, kSampleWindows);
    };
    SPARING_TRY(anchored_, anchor(*context_, key_ + "-anchors", sites_, classes_.of, choice, measure));
    for (std::size_t i = 0; i < sites_.size(); ++i) {
      for (std::size_t o = 0; o < sites_[i].damage.size(); ++o) sites_[i].damage[o] *= anchored_[i][o];
    }
    return {};
  }

  /// Codes the options around a choice: for each method at a site, its neighbours along the trade-off.
  Status code(const Choice& choice) {
    std::vector<std::vector<std::size_t>> wanted;
    for (std::size_t i = 0; i < sites_.size(); ++i) {
      wanted.push_back(around(sites_[i], choice[i], kNeighbours));
      // Where the budget is that tight, the cheapest of all is a way out.
      if (sites_[i].options[choice[i]].bytes == sites_[i].options[0].bytes && wanted.back().front() != 0) {
        wanted.back().insert(wanted.back().begin(), 0);
      }
      if (times_.empty()) continue;
      // Speed may ask for another one yet.
      auto& list = wanted.back();
      const auto fastest = static_cast<std::size_t>(std::ranges::min_element(times_[i]) - times_[i].begin());
      if (std::ranges::count(list, fastest) == 0) list.insert(std::ranges::upper_bound(list, fastest), fastest);
      std::vector<double> kept;
      for (const std::size_t o : list) kept.push_back(times_[i][o]);
      times_[i] = std::move(kept);
    }
    log_info("[fit] coding candidates");
    SPARING_TRY(database_, code_candidates(*context_, key_, sites_, wanted));
    for (std::size_t i = 0; i < sites_.size(); ++i) {
      for (std::size_t o = 0; o < wanted[i].size(); ++o) database_.sites[i][o].damage *= anchored_[i][wanted[i][o]];
    }
    if (database_.seconds_per_unit > 0) {
      SPARING_CHECK_OK(measured_.keep("seconds a token", database_.seconds_per_token));
      SPARING_CHECK_OK(measured_.keep("seconds a unit", database_.seconds_per_unit));
    }
    return {};
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
    return measured(what, database_.weights(sites_, choice), windows);
  }
  Result<double> measured(const std::string& what, const std::map<std::string, CodedWeight, std::less<>>& weights,
                          std::int64_t windows) {
    const std::string key = short_hash(what);
    if (const auto known = measured_.find(key)) return *known;
    SPARING_CHECK_OK(start_meter());
    SPARING_TRY(const Estimate damage, meter_->kl(weights, windows));
    SPARING_CHECK_OK(measured_.keep(key, damage.value));
    return damage.value;
  }

  Table expected() const {
    Table table;
    for (std::size_t i = 0; i < database_.sites.size(); ++i) {
      auto& options = table.emplace_back();
      for (std::size_t o = 0; o < database_.sites[i].size(); ++o) {
        const Candidate& candidate = database_.sites[i][o];
        options.push_back({candidate.option.bytes, times_.empty() ? 0 : times_[i][o], candidate.damage});
      }
    }
    return table;
  }
  Table corrected() const {
    Table table = expected();
    for (std::size_t i = 0; i < table.size(); ++i) {
      for (Priced& option : table[i]) option.damage *= factor(i);
    }
    return table;
  }
  double factor(std::size_t site) const { return factors_.by_class[classes_.of[site]]; }

  /// Random assignments near the best one, measured whole.
  Status correct() {
    const std::size_t classes = classes_.names.size();
    const Table table = expected();
    Rng rng(request_.base.seed, 0x6a6f696e74);
    std::vector<JointSample> samples;
    Progress progress("checking damages add up", static_cast<std::int64_t>(kSamples), "sample");
    for (std::size_t n = 0; n < kSamples; ++n) {
      Table shaken = table;
      std::vector<double> by_class(classes);
      // The first is the best assignment itself.
      for (double& f : by_class) f = n == 0 ? 1.0 : std::exp(0.7 * rng.normal());
      for (std::size_t i = 0; i < shaken.size(); ++i) {
        const double f = by_class[classes_.of[i]] * (n == 0 ? 1.0 : std::exp(0.3 * rng.normal()));
        for (Priced& option : shaken[i]) option.damage *= f;
      }
      SPARING_TRY(const Choice choice, allocate(shaken, kSampleStates));
      JointSample sample;
      sample.expected.resize(classes);
      for (std::size_t i = 0; i < choice.size(); ++i) sample.expected[classes_.of[i]] += table[i][choice[i]].damage;
      SPARING_TRY(sample.measured, kl(choice, kSampleWindows));
      sample.measured = std::max(sample.measured, 1e-9);
      log_debug("[fit] sample " + std::to_string(n) + ": expected " +
                std::to_string(std::accumulate(sample.expected.begin(), sample.expected.end(), 0.0)) + ", measured " +
                std::to_string(sample.measured));
      samples.push_back(std::move(sample));
      progress.advance(1);
    }
    progress.finish();
    factors_ = fit_factors(samples, classes);
    std::string text;
    for (std::size_t c = 0; c < classes; ++c)
      text += " " + classes_.names[c] + " " + std::to_string(factors_.by_class[c]);
    log_debug("[fit] factors:" + text + "; residual " + std::to_string(factors_.residual));
    return {};
  }

  /// (1 + lambda) search on true damage from what the model of damage found.
  Result<Choice> search(Choice choice) {
    if (request_.generations == 0) return choice;
    SPARING_CHECK_OK(start_meter());
    SearchProblem problem;
    const Table table = corrected();
    std::vector<std::vector<std::size_t>> levels;  // of each site, by ascending cost, none dominated
    Choice start;
    for (std::size_t i = 0; i < table.size(); ++i) {
      auto& list = levels.emplace_back();
      auto& options = problem.sites.emplace_back();
      for (std::size_t o = 0; o < table[i].size(); ++o) {
        const bool helps = list.empty() || table[i][o].damage < table[i][list.back()].damage;
        if (o == choice[i]) start.push_back(list.size());
        if (o != choice[i] && !helps) continue;
        list.push_back(o);
        options.push_back({table[i][o].bytes, table[i][o].damage});
      }
    }
    const auto original = [&](const Choice& at) {
      Choice real;
      for (std::size_t i = 0; i < at.size(); ++i) real.push_back(levels[i][at[i]]);
      return real;
    };
    SPARING_TRY(const std::uint64_t besides, overhead(options_of(choice)));
    problem.budget = most_ - besides;
    problem.offspring = kOffspring;
    problem.stages = {{2, 4}, {std::min<std::int64_t>(8, meter_->windows()), 1}, {meter_->windows(), 1}};
    problem.generations = request_.generations;
    problem.seed = request_.base.seed;
    Progress progress("searching", request_.generations * static_cast<std::int64_t>(kOffspring + 6), "measurement");
    problem.damage = [&](const Choice& at, std::int64_t windows) -> Result<double> {
      progress.advance(1);
      const Choice real = original(at);
      // What is over a budget after all, metadata included, is no candidate.
      SPARING_TRY(const Plan plan, plan_of(options_of(real)));
      const bool fits = plan.totals.at(std::string(kWeights)) <= most_;
      const bool in_time = times_.empty() || time_of(table, real) <= std::max(time_left(), time_of(table, choice));
      if (!fits || !in_time) return std::numeric_limits<double>::infinity();
      return kl(real, windows);
    };
    SPARING_TRY(const SearchAnswer answer, evopress(problem, std::move(start)));
    progress.finish();
    log_info("[fit] search: KL " + std::to_string(answer.start) + " -> " + std::to_string(answer.damage) + ", " +
             std::to_string(answer.improved) + " of " + std::to_string(request_.generations) +
             " generations found something better");
    return original(answer.choice);
  }

  Result<Plan> finish(const Choice& choice) {
    SPARING_TRY(Plan plan, plan_of(options_of(choice)));
    const Table table = corrected();
    const double sum = damage_of(table, choice);
    for (std::size_t i = 0; i < choice.size(); ++i) {
      plan.sites[i].damage = table[i][choice[i]].damage;
      plan.sites[i].runner_up = runner_up(database_.sites[i], table[i], choice[i]);
      if (!times_.empty()) {
        plan.sites[i].costs[std::string(kTokenTime)] = static_cast<std::uint64_t>(table[i][choice[i]].nanoseconds);
      }
    }
    Forecast& forecast = plan.forecast;
    forecast.set(kDamage, sum);
    forecast.set(kDamageError, factors_.residual);
    SPARING_TRY(const double drafts, kl(choice, 0));
    forecast.set(kDraftDamage, drafts);
    plan.damage = drafts;
    SPARING_TRY(const double seconds, decode_time(choice));
    forecast.set(kTokensPerSecond, 1 / seconds);
    if (request_.budgets.speed > 0) {
      plan.budgets[std::string(kTokenTime)] = static_cast<std::uint64_t>(kTimeTolerance * time_asked());
      plan.totals[std::string(kTokenTime)] = static_cast<std::uint64_t>(seconds * 1e9);
    }
    SPARING_TRY(const std::uint64_t besides, resident_besides(checkpoint_.config(), request_.budgets.context));
    forecast.set(kResident, static_cast<double>(plan.totals.at(std::string(kWeights)) + besides));
    SPARING_CHECK_OK(foresee_coding(plan));
    SPARING_TRY(const double price, price_of_bytes(table, sum));
    forecast.set(kPrice, price);
    return plan;
  }

  Status foresee_coding(Plan& plan) const {
    SPARING_TRY(const auto sites, bind_plan(plan, checkpoint_, assembler_.model_hash()));
    plan.forecast.set(kPeakBytes,
                      static_cast<double>(coding_peak(plan, sites, checkpoint_.config(), options_.max_ram)));
    const auto token = measured_.find("seconds a token"), unit = measured_.find("seconds a unit");
    if (!token || !unit) return {};
    const double seconds = coding_seconds(plan, sites, *token, *unit);
    plan.forecast.set(kCodingSeconds, seconds);
    if (!(request_.budgets.time > 0) || seconds <= request_.budgets.time) return {};
    return resource_error("[fit] time=" + format_duration(request_.budgets.time) +
                          ": coding alone is expected to take " + format_duration(seconds) +
                          ": allow that, or fewer --calib-tokens");
  }

  /// KL that a MiB more would buy, from a step of a twentieth of the budget at most.
  Result<double> price_of_bytes(const Table& table, double damage) {
    const std::uint64_t step = std::min<std::uint64_t>(kMiB, most_ / 20), before = most_;
    most_ += step;
    auto choice = allocate(table);
    most_ = before;
    if (!choice) return std::move(choice).error();
    return std::max(0.0, damage - damage_of(table, *choice)) * static_cast<double>(kMiB) /
           static_cast<double>(std::max<std::uint64_t>(step, 1));
  }

  const FitRequest& request_;
  std::uint64_t most_;
  const Assembler& assembler_;
  const Checkpoint& checkpoint_;
  Journal& journal_;
  const ExecuteOptions& options_;
  std::string key_;
  Measurements measured_;
  std::vector<SurveyedSite> sites_;
  std::vector<std::vector<double>> times_;  ///< nanoseconds by site and option, as in the table in use
  double besides_products_ = 0;             ///< nanoseconds a token, learnt from drafts
  std::uint64_t overhead_ = 0;              ///< what the cheapest plan's directory has besides its sites
  CalibrationTokens text_;
  std::vector<std::vector<Token>> looked_at_;
  Sensitivity sensitivity_;
  std::optional<SurveyContext> context_;
  CandidateDatabase database_;
  std::unique_ptr<DamageMeter> meter_;
  SiteClasses classes_;
  std::vector<std::vector<double>> anchored_;  ///< what estimates are multiplied with, by site and option
  DamageFactors factors_;
};

}  // namespace

Result<Plan> fit(const FitRequest& request, const Assembler& assembler, Journal& journal,
                 const ExecuteOptions& options) {
  const std::string key = fit_key(request, assembler.model_hash());
  if (const auto noted = journal.note(key)) {
    if (auto plan = plan_from_json(*noted); plan.ok()) return plan;
  }
  SPARING_TRY(const std::uint64_t most, most_bytes(request.budgets, assembler.checkpoint().config()));
  SPARING_TRY(Plan plan, Fit(request, most, assembler, journal, options, key).solve());
  SPARING_CHECK_OK(journal.keep_note(key, plan_to_json(plan)));
  return plan;
}

}  // namespace sparing
