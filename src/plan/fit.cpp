#include "plan/fit.h"

#include <algorithm>
#include <cstdio>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/units.h"
#include "plan/allocate.h"
#include "plan/anchors.h"
#include "plan/coding_cost.h"
#include "plan/damage.h"
#include "plan/database.h"
#include "plan/joint_samples.h"
#include "plan/lossless.h"
#include "plan/measurements.h"
#include "plan/refine.h"
#include "plan/restructure.h"
#include "plan/speed_table.h"
#include "plan/steer.h"
#include "plan/structure_search.h"

namespace sparing {
namespace {

using Table = PriceTable;

constexpr std::int64_t kSampleWindows = 4, kSteerWindows = 8;
/// A finished model may miss the speed by a tenth; drafts must be half as near.
constexpr double kTimeTolerance = 1.05;
/// Expected of weights; activations in 8 bits cost SmolLM2 .0024.
constexpr double kCloseDamage = 0.002;
constexpr std::size_t kNeighbours = 2;
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
    if (!is_thinned()) {
      SPARING_TRY(auto lossless, lossless_plan(request_, most_, assembler_));
      if (lossless) return std::move(*lossless);
    }
    SPARING_TRY(sites_, list_options(request_, checkpoint_, options_.threads));
    SPARING_CHECK_OK(drop_worthless(checkpoint_, sites_, request_.base.seed, options_.threads));
    SPARING_CHECK_OK(check_reachable());
    SPARING_CHECK_OK(look());
    SPARING_CHECK_OK(time_options());
    SPARING_CHECK_OK(measure_structure());
    SPARING_TRY(Choice choice, allocate(surveyed()));
    if (damage_of(surveyed(), choice) < kCloseDamage) {
      log_info("[fit] hardly anything is lost: activations are to be in 16 bits");
      activation_bits_ = 16;
    }
    SPARING_CHECK_OK(anchor_estimates(choice));
    SPARING_TRY(choice, allocate(surveyed()));
    SPARING_CHECK_OK(code(choice));
    SPARING_CHECK_OK(correct());
    SPARING_TRY(choice, allocate_in_time());
    SPARING_TRY(choice, search(choice));
    return finish(choice);
  }

  /// What is worth taking out at the price that solve() found for bytes.
  Result<std::optional<StructureSpec>> worth_taking_out(const Plan& plan, const std::string& method) {
    StructureMarket market{*context_, plan.forecast.at(kPrice) / static_cast<double>(kMiB), {}, {}};
    for (const SiteChoice& site : plan.sites) market.bytes[site.site] = site.costs.at(std::string(kWeights));
    market.measure = [&](const std::string& what, const auto& weights) {
      return measured("structure " + what, weights, kSampleWindows);
    };
    log_info("[fit] looking for channels, heads and layers that are not worth their bytes");
    return seek_structure(market, {method, {}, request_.base.calibration, {}});
  }

 private:
  bool is_thinned() const { return assembler_.original_ptr() != assembler_.checkpoint_ptr(); }
  /// KL of the thinned model before anything is coded.
  Status measure_structure() {
    if (!is_thinned()) return {};
    SPARING_TRY(taken_out_, measured("structure", {}, kSampleWindows));
    return {};
  }
  /// What coding adds to that.
  Result<double> damage_of_coding(const std::string& what,
                                  const std::map<std::string, CodedWeight, std::less<>>& weights) {
    SPARING_TRY(const double damage, measured(what, weights, kSampleWindows));
    return std::max(damage - taken_out_, 1e-9);
  }

  Result<Plan> plan_of(const std::vector<SiteOption>& chosen) const {
    Plan plan = plan_with(request_, assembler_, sites_, chosen);
    SPARING_TRY(const auto sites, bind_plan(plan, checkpoint_, assembler_.model_hash()));
    if (std::ranges::none_of(sites, &BoundSite::calibrates)) plan.calibration = {};
    plan.activation_bits = activation_bits_;
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
    SPARING_TRY(text_, calibration_tokens(request_.base.calibration, assembler_.original_ptr(), assembler_.model_hash(),
                                          request_.base.seed, options_.threads, &journal_));
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
    Choice choice = steered_.choice;
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
    SPARING_TRY(const double seconds, decode_seconds(assembler_.checkpoint_ptr(), database_.weights(sites_, choice),
                                                     options_.threads, activation_bits_));
    SPARING_CHECK_OK(measured_.keep(what, seconds));
    return seconds;
  }

  /// Brings the estimates near what is measured of each class of sites at this choice.
  Status anchor_estimates(const Choice& choice) {
    classes_ = classes_of(sites_);
    log_info("[fit] measuring the damage of each kind of site");
    const auto measure = [&](const std::string& what, const auto& weights) {
      return damage_of_coding("alone " + what, weights);
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
    const std::int64_t windows = meter_windows(checkpoint_.config().vocab, context);
    SPARING_TRY(meter_,
                DamageMeter::create(assembler_.original_ptr(), assembler_.checkpoint_ptr(), text_.held_out, context,
                                    windows, bos, options_.threads, journal_.folder(), activation_bits_));
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
  Table corrected() const { return weighted(expected(), steered_.weights); }

  /// Random assignments near the best one, measured whole; then what they say of each kind of site is put to the test.
  Status correct() {
    const Table table = expected();
    const auto shaken = [&](const Table& prices) { return allocate(prices, kSampleStates); };
    const auto damage = [&](const Choice& choice) -> Result<double> {
      SPARING_TRY(const double measured, kl(choice, kSampleWindows));
      return std::max(measured - taken_out_, 1e-9);
    };
    SPARING_TRY(const auto samples, draw_joint_samples({table, classes_, request_.base.seed, shaken, damage}));
    factors_ = fit_factors(samples, classes_.names.size());
    log_debug("[fit] factors:" + describe(factors_, classes_.names));
    std::vector<double> fitted;
    for (const std::size_t c : classes_.of) fitted.push_back(factors_.by_class[c]);
    const auto on_more = [&](const Choice& choice) { return kl(choice, kSteerWindows); };
    const std::vector<double> alike(table.size(), 1.0);
    SPARING_TRY(steered_, steer({table, {fitted, alike}, steering_groups(sites_, classes_), shaken, on_more}));
    steered_.add_up_to(table, std::max(steered_.damage - taken_out_, 1e-9));
    return {};
  }

  /// (1 + lambda) search on true damage from what the model of damage found.
  Result<Choice> search(const Choice& start) {
    if (request_.generations == 0) return start;
    SPARING_CHECK_OK(start_meter());
    const Table table = corrected();
    SPARING_TRY(const std::uint64_t besides, overhead(options_of(start)));
    const auto allowed = [&](const Choice& choice) -> Result<bool> {
      SPARING_TRY(const Plan plan, plan_of(options_of(choice)));
      const bool in_time = times_.empty() || time_of(table, choice) <= std::max(time_left(), time_of(table, start));
      return in_time && plan.totals.at(std::string(kWeights)) <= most_;
    };
    const auto damage = [&](const Choice& choice, std::int64_t windows) { return kl(choice, windows); };
    return refine(
        {table, most_ - besides, meter_->windows(), request_.generations, request_.base.seed, allowed, damage}, start);
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
    forecast.set(kDamage, taken_out_ + sum);
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
    plan.forecast.set(kFinishedDamage, finished_share(plan, sites) * plan.forecast.at(kDraftDamage));
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
  std::int32_t activation_bits_ = 0;        ///< of the finished model, as in Plan
  double taken_out_ = 0;                    ///< KL of what structure left, uncoded
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
  Steered steered_;
};

/// Solved, and again without what is not worth its bytes; the better of the two.
Result<Plan> solve(const FitRequest& request, std::uint64_t most, const Assembler& assembler, Journal& journal,
                   const ExecuteOptions& options, const std::string& key) {
  std::optional<StructureSpec> worthless;
  Plan plan;
  {
    Fit fit(request, most, assembler, journal, options, key);
    SPARING_TRY(plan, fit.solve());
    if (request.structure_method && !request.base.structure && plan.forecast.has(kPrice)) {
      SPARING_TRY(worthless, fit.worth_taking_out(plan, *request.structure_method));
    }
  }
  if (!worthless) return plan;
  FitRequest without = request;
  without.base.structure = std::move(worthless);
  SPARING_TRY(Plan thinned, fit(without, assembler, journal, options));
  const double whole = plan.forecast.at(kDraftDamage), less = thinned.forecast.at(kDraftDamage);
  log_info("[fit] KL of drafts with the whole structure " + std::to_string(whole) + ", without what is not worth it " +
           std::to_string(less));
  return less < whole ? std::move(thinned) : std::move(plan);
}

}  // namespace

Result<Plan> fit(const FitRequest& request, const Assembler& assembler, Journal& journal,
                 const ExecuteOptions& options) {
  const std::string key = fit_key(request, assembler.model_hash());
  if (const auto noted = journal.note(key)) {
    if (auto plan = plan_from_json(*noted); plan.ok()) return plan;
  }
  SPARING_TRY(const Assembler target,
              assembler_for(request.base.structure, assembler, request.base.seed, journal, options));
  SPARING_TRY(const std::uint64_t most, most_bytes(request.budgets, target.checkpoint().config()));
  SPARING_TRY(Plan plan, solve(request, most, target, journal, options, key));
  SPARING_CHECK_OK(journal.keep_note(key, plan_to_json(plan)));
  return plan;
}

}  // namespace sparing
