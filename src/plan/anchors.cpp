#include "plan/anchors.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/log.h"
#include "base/progress.h"

namespace sparing {
namespace {

constexpr double kRung = 1.4;         ///< in bytes
constexpr double kMostFactor = 1000;  ///< either way: an estimate of nearly nothing says nothing

double factor_of(double measured, double estimated) {
  if (!(measured > 0) || !(estimated > 0)) return 1;
  return std::clamp(measured / estimated, 1 / kMostFactor, kMostFactor);
}

/// Sites of each class; several where a class is more than one site.
std::vector<std::vector<std::size_t>> members_of(const std::vector<std::size_t>& classes) {
  std::vector<std::vector<std::size_t>> members;
  for (std::size_t i = 0; i < classes.size(); ++i) {
    members.resize(std::max(members.size(), classes[i] + 1));
    members[classes[i]].push_back(i);
  }
  return members;
}

using Factors = std::vector<std::vector<double>>;

/// What an earlier run noted; nothing where that is damaged.
std::optional<Factors> noted_factors(const std::string& note, const std::vector<SurveyedSite>& sites) {
  const auto json = nlohmann::json::parse(note, nullptr, false);
  if (!json.is_array() || json.size() != sites.size()) return std::nullopt;
  Factors factors;
  for (std::size_t i = 0; i < sites.size(); ++i) {
    if (!json[i].is_array() || json[i].size() != sites[i].options.size()) return std::nullopt;
    auto& of_site = factors.emplace_back();
    for (const auto& value : json[i]) {
      if (!value.is_number()) return std::nullopt;
      of_site.push_back(value.get<double>());
    }
  }
  return factors;
}

std::string name_of(const SiteOption& option) {
  nlohmann::json name = {option.setting.method, option.setting.params};
  return name.dump();
}

}  // namespace

SiteClasses classes_of(const std::vector<SurveyedSite>& sites) {
  SiteClasses classes;
  for (const SurveyedSite& site : sites) {
    const std::string& name = site.site.name;
    const std::string block = block_of(name), kind = block == name ? name : name.substr(block.size() + 1);
    const auto known = std::ranges::find(classes.names, kind);
    classes.of.push_back(static_cast<std::size_t>(known - classes.names.begin()));
    if (known == classes.names.end()) classes.names.push_back(kind);
  }
  return classes;
}

std::vector<std::size_t> ladder(const SurveyedSite& site) {
  std::vector<std::size_t> rungs;
  double step = static_cast<double>(site.options.front().bytes);
  for (std::size_t o = 0, best = 0; o < site.options.size(); ++o) {
    if (static_cast<double>(site.options[o].bytes) > step) {
      if (rungs.empty() || rungs.back() != best) rungs.push_back(best);
      while (static_cast<double>(site.options[o].bytes) > step) step *= kRung;
    }
    if (site.damage[o] < site.damage[best]) best = o;
    if (o + 1 == site.options.size() && (rungs.empty() || rungs.back() != best)) rungs.push_back(best);
  }
  // What is kept as it is does no damage that could be measured.
  std::erase_if(rungs, [&](std::size_t o) { return site.options[o].setting.method == kKeep; });
  return rungs;
}

std::vector<double> factors_between(const SurveyedSite& site, const std::vector<std::size_t>& rungs,
                                    const std::vector<double>& at_rungs) {
  std::vector<double> factors;
  for (const SiteOption& option : site.options) {
    const auto place = [&](std::size_t rung) {
      return std::log(static_cast<double>(std::max<std::uint64_t>(site.options[rungs[rung]].bytes, 1)));
    };
    const double at = std::log(static_cast<double>(std::max<std::uint64_t>(option.bytes, 1)));
    std::size_t above = 0;
    while (above < rungs.size() && place(above) < at) ++above;
    if (above == 0 || above == rungs.size()) {
      factors.push_back(rungs.empty() ? 1 : at_rungs[above == 0 ? 0 : rungs.size() - 1]);
      continue;
    }
    const double share = (at - place(above - 1)) / (place(above) - place(above - 1));
    factors.push_back(std::exp((1 - share) * std::log(at_rungs[above - 1]) + share * std::log(at_rungs[above])));
  }
  return factors;
}

Result<std::vector<std::vector<double>>> anchor(const SurveyContext& context, const std::string& key,
                                                const std::vector<SurveyedSite>& sites,
                                                const std::vector<std::size_t>& classes,
                                                const std::vector<std::size_t>& choice, const MeasureWeights& measure) {
  if (const auto noted = context.journal.note(key)) {
    if (auto known = noted_factors(*noted, sites)) return std::move(*known);
  }
  const auto members = members_of(classes);
  std::vector<std::vector<std::size_t>> wanted(sites.size());
  std::int64_t measurements = 0;
  for (const auto& sites_of_class : members) {
    const bool alone = sites_of_class.size() == 1;
    for (const std::size_t i : sites_of_class) wanted[i] = alone ? ladder(sites[i]) : std::vector{choice[i]};
    if (!sites_of_class.empty())
      measurements += alone ? static_cast<std::int64_t>(wanted[sites_of_class[0]].size()) : 1;
  }
  SPARING_TRY(const CandidateDatabase database, code_candidates(context, key, sites, wanted));
  Factors factors(sites.size());
  Progress progress("measuring kinds of sites", measurements, "measurement");
  for (const auto& sites_of_class : members) {
    if (sites_of_class.size() == 1) {
      const std::size_t i = sites_of_class[0];
      std::vector<double> at_rungs;
      for (std::size_t rung = 0; rung < wanted[i].size(); ++rung) {
        const Candidate& candidate = database.sites[i][rung];
        SPARING_TRY(const double kl, measure(sites[i].site.name + " " + name_of(candidate.option),
                                             {{sites[i].site.name, candidate.weight}}));
        at_rungs.push_back(factor_of(kl, candidate.damage));
        log_debug("[fit] " + sites[i].site.name + " of " + std::to_string(candidate.option.bytes) +
                  " bytes: expected " + std::to_string(candidate.damage) + ", measured " + std::to_string(kl));
        progress.advance(1);
      }
      factors[i] = factors_between(sites[i], wanted[i], at_rungs);
      continue;
    }
    std::map<std::string, CodedWeight, std::less<>> weights;
    std::string what;
    double estimated = 0;
    for (const std::size_t i : sites_of_class) {
      const Candidate& candidate = database.sites[i].front();
      what += sites[i].site.name + " " + name_of(candidate.option) + " ";
      estimated += candidate.damage;
      if (candidate.option.setting.method != kKeep) weights.emplace(sites[i].site.name, candidate.weight);
    }
    double factor = 1;
    if (!weights.empty()) {
      SPARING_TRY(const double kl, measure(what, weights));
      factor = factor_of(kl, estimated);
      log_debug("[fit] sites like " + sites[sites_of_class[0]].site.name + ": expected " + std::to_string(estimated) +
                ", measured " + std::to_string(kl));
    }
    progress.advance(1);
    for (const std::size_t i : sites_of_class) factors[i].assign(sites[i].options.size(), factor);
  }
  progress.finish();
  SPARING_CHECK_OK(context.journal.keep_note(key, nlohmann::json(factors).dump()));
  return factors;
}

}  // namespace sparing
