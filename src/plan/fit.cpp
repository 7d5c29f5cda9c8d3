#include "plan/fit.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "base/progress.h"
#include "base/sha256.h"
#include "base/units.h"
#include "plan/damage.h"
#include "plan/uniform.h"

namespace sparing {
namespace {

using Weights = std::map<std::string, CodedWeight, std::less<>>;

constexpr std::int64_t kMeasureWindows = 3, kTrialTokens = 8192;

bool has_param(const Method& method, std::string_view name) {
  return std::ranges::any_of(method.params, [&](const ParamSpec& spec) { return spec.name == name; });
}

/// Weight methods on the grids of plain rounding: a rate describes them, and they rank as it does.
std::vector<std::string> rated_methods() {
  std::vector<std::string> names;
  const Method& rtn = **find_method("rtn");
  for (const Method* method : all_methods()) {
    const auto known = [&](const ParamSpec& spec) { return has_param(*method, spec.name); };
    if (method->kind == MethodKind::weights && std::ranges::all_of(rtn.params, known)) names.emplace_back(method->name);
  }
  return names;
}

std::vector<Rate> rates(std::optional<std::int32_t> bits, std::optional<std::int32_t> group) {
  std::vector<Rate> list;
  for (std::int32_t b = bits.value_or(8); b >= bits.value_or(2); --b) {
    for (const std::int32_t g : group ? std::vector{*group} : std::vector{32, 64, 128}) list.push_back({b, g});
  }
  return list;
}

Setting at_rate(const std::string& method, const Rate& rate, const ParamList& rest) {
  Setting setting{method, {{"bits", std::to_string(rate.bits)}, {"group", std::to_string(rate.group)}}};
  setting.params.insert(setting.params.end(), rest.begin(), rest.end());
  return setting;
}

/// One uniform setting of everything.
struct Trial {
  std::string method;
  Rate linear, embedding;
};

class Fit {
 public:
  Fit(const FitRequest& request, const Assembler& assembler, Journal* journal, const ExecuteOptions& options)
      : request_(request), assembler_(assembler), journal_(journal), options_(options) {
    methods_ = request.methods.empty() ? rated_methods() : request.methods;
  }

  Result<Plan> solve() {
    SPARING_TRY(auto lossless, lossless_plan());
    if (lossless) return std::move(*lossless);
    UniformProblem problem;
    problem.linear = rates(request_.bits, request_.group);
    problem.embedding = rates(request_.embed_bits, request_.embed_group);
    problem.budget = request_.budget;
    problem.bytes = [&](RatePair pair) -> Result<std::uint64_t> {
      std::uint64_t most = 0;
      for (const std::string& method : methods_) {
        SPARING_TRY(const Plan plan,
                    predicted({method, problem.linear[pair.linear], problem.embedding[pair.embedding]}));
        most = std::max(most, plan.totals.at(std::string(kWeights)));
      }
      return most;
    };
    problem.damage = [&](std::optional<std::size_t> l, std::optional<std::size_t> e) -> Result<double> {
      return rounding_damage(l ? std::optional(problem.linear[*l]) : std::nullopt,
                             e ? std::optional(problem.embedding[*e]) : std::nullopt);
    };
    SPARING_TRY(const UniformAnswer answer, solve_uniform(problem));
    Trial best{methods_.front(), problem.linear[answer.pair.linear], problem.embedding[answer.pair.embedding]};
    double damage = answer.damage;
    log_info("[fit] " + describe(best.linear) + "; embedding " + describe(best.embedding) + " (" +
             std::to_string(answer.measurements) + " settings measured)");
    if (methods_.size() > 1) {
      damage = std::numeric_limits<double>::infinity();
      for (const std::string& method : methods_) {
        Trial trial = best;
        trial.method = method;
        SPARING_TRY(const double measured, trial_damage(trial));
        log_info("[fit] " + method + ": KL " + std::to_string(measured));
        if (measured < damage) {
          damage = measured;
          best.method = method;
        }
      }
    }
    SPARING_TRY(Plan plan, predicted(best));
    plan.damage = damage;
    return plan;
  }

 private:
  ComposeRequest composed(const Trial& trial) const {
    ComposeRequest request = request_.base;
    request.linear = at_rate(trial.method, trial.linear, request_.base.linear.params);
    request.embedding = at_rate(request_.base.embedding.method, trial.embedding, request_.base.embedding.params);
    return request;
  }

  /// What finds a grid that the weights lie on already loses nothing: where that fits, nothing can be better.
  Result<std::optional<Plan>> lossless_plan() const {
    const bool free = !request_.bits && !request_.group && !request_.embed_bits && !request_.embed_group &&
                      request_.base.linear.params.empty() && request_.base.overrides.empty();
    for (const Method* method : all_methods()) {
      const bool asked = request_.methods.empty() ? free : std::ranges::count(request_.methods, method->name) > 0;
      if (!method->finds_rate || !asked) continue;
      ComposeRequest request = request_.base;
      request.linear = request.embedding = Setting{std::string(method->name), {}};
      auto plan = predicted(request);
      // A model on no grid is nothing special unless this was asked for by name.
      if (!plan && request_.methods.empty()) continue;
      if (!plan) return std::move(plan).error();
      if (plan->totals.at(std::string(kWeights)) > request_.budget && request_.methods.empty()) continue;
      log_info("[fit] the weights lie on a grid that fits: nothing is lost");
      return std::optional(std::move(*plan));
    }
    return std::optional<Plan>();
  }

  Result<Plan> predicted(const Trial& trial) const { return predicted(composed(trial)); }

  Result<Plan> predicted(const ComposeRequest& request) const {
    SPARING_TRY(Plan plan, compose_plan(request, assembler_.checkpoint(), assembler_.model_hash()));
    SPARING_TRY(const auto sites, bind_plan(plan, assembler_.checkpoint(), assembler_.model_hash()));
    SPARING_CHECK_OK(assembler_.predict(plan, sites));
    plan.budgets[std::string(kWeights)] = request_.budget;
    return plan;
  }

  Status prepare() {
    if (meter_) return {};
    SPARING_TRY(text_, calibration_tokens(request_.base.calibration, assembler_.checkpoint_ptr(),
                                          assembler_.model_hash(), request_.base.seed, options_.threads, journal_));
    SPARING_TRY(const auto tokenizer, Tokenizer::load(assembler_.checkpoint().tokenizer()));
    const Token bos = tokenizer->adds_bos() ? tokenizer->bos() : -1;
    SPARING_TRY(meter_, DamageMeter::create(assembler_.checkpoint_ptr(), text_.held_out,
                                            request_.base.calibration.length, kMeasureWindows, bos, options_.threads,
                                            journal_ ? journal_->folder() : std::filesystem::path()));
    return {};
  }

  /// By plain rounding: cheap, and what it ranks first other methods on the same grid rank first too.
  Result<double> rounding_damage(std::optional<Rate> linear, std::optional<Rate> embedding) {
    SPARING_CHECK_OK(prepare());
    ComposeRequest request = request_.base;
    request.linear = linear ? at_rate("rtn", *linear, {}) : Setting{std::string(kKeep), {}};
    request.embedding = embedding ? at_rate("rtn", *embedding, {}) : Setting{std::string(kKeep), {}};
    request.overrides.clear();
    return damage_of(request);
  }

  Result<double> trial_damage(const Trial& trial) {
    SPARING_CHECK_OK(prepare());
    return damage_of(composed(trial));
  }

  Result<double> damage_of(const ComposeRequest& request) {
    SPARING_TRY(Plan plan, compose_plan(request, assembler_.checkpoint(), assembler_.model_hash()));
    SPARING_TRY(auto sites, bind_plan(plan, assembler_.checkpoint(), assembler_.model_hash()));
    // What is kept need not be coded to be measured; calibration runs through every site all the same.
    if (plan.calibration.tokens == 0)
      std::erase_if(sites, [](const BoundSite& site) { return site.method == nullptr; });
    BlockStore store(nullptr, sites);
    auto sequences = text_.sequences;
    if (plan.calibration.tokens > 0) {
      sequences.resize(std::min<std::size_t>(sequences.size(), static_cast<std::size_t>(std::max<std::int64_t>(
                                                                   1, kTrialTokens / plan.calibration.length))));
    }
    SPARING_CHECK_OK(code_blocks(plan, assembler_, sequences, store, options_));
    Weights weights;
    for (const BoundSite& site : sites) {
      if (site.method != nullptr) weights.emplace(site.site.name, store.find(site.site.name)->weight);
    }
    return meter_->kl(weights);
  }

  const FitRequest& request_;
  const Assembler& assembler_;
  Journal* journal_;
  const ExecuteOptions& options_;
  std::vector<std::string> methods_;
  CalibrationTokens text_;
  std::unique_ptr<DamageMeter> meter_;
};

/// Everything that decides the answer, as a key for the journal's note.
std::string note_key(const FitRequest& request, const std::string& model_hash) {
  nlohmann::ordered_json key = {{"fit", request.budget},
                                {"model", model_hash},
                                {"methods", request.methods},
                                {"bits", request.bits.value_or(0)},
                                {"group", request.group.value_or(0)},
                                {"embed_bits", request.embed_bits.value_or(0)},
                                {"embed_group", request.embed_group.value_or(0)},
                                {"linear", request.base.linear.params},
                                {"embed_method", request.base.embedding.method},
                                {"embedding", request.base.embedding.params},
                                {"seed", request.base.seed},
                                {"tokens", request.base.calibration.tokens},
                                {"length", request.base.calibration.length},
                                {"self", request.base.calibration.self}};
  for (const SiteOverride& change : request.base.overrides) {
    key["overrides"].push_back({{"pattern", change.pattern}, {"settings", change.settings}});
  }
  for (const CalibrationFile& file : request.base.calibration.files) key["texts"].push_back(file.sha256);
  const std::string text = key.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  return "fit-" + sha256_hex(std::as_bytes(std::span(text))).substr(0, 32);
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

Result<Plan> fit_uniform(const FitRequest& request, const Assembler& assembler, Journal* journal,
                         const ExecuteOptions& options) {
  const std::string key = note_key(request, assembler.model_hash());
  if (journal != nullptr) {
    if (const auto noted = journal->note(key)) {
      if (auto plan = plan_from_json(*noted); plan.ok()) return plan;
    }
  }
  Fit fit(request, assembler, journal, options);
  SPARING_TRY(Plan plan, fit.solve());
  if (journal != nullptr) SPARING_CHECK_OK(journal->keep_note(key, plan_to_json(plan)));
  return plan;
}

}  // namespace sparing
