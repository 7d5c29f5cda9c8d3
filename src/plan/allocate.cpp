#include "plan/allocate.h"

#include <algorithm>
#include <map>

#include "base/log.h"
#include "plan/knapsack.h"
#include "plan/milp.h"

namespace sparing {
namespace {

constexpr double kStep = 1.06;  ///< in bytes, between candidates: nearer ones tell nothing new

}  // namespace

std::uint64_t bytes_of(const PriceTable& table, const Choice& choice) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < choice.size(); ++i) sum += table[i][choice[i]].bytes;
  return sum;
}
double time_of(const PriceTable& table, const Choice& choice) {
  double sum = 0;
  for (std::size_t i = 0; i < choice.size(); ++i) sum += table[i][choice[i]].nanoseconds;
  return sum;
}
double damage_of(const PriceTable& table, const Choice& choice) {
  double sum = 0;
  for (std::size_t i = 0; i < choice.size(); ++i) sum += table[i][choice[i]].damage;
  return sum;
}

Result<std::optional<Choice>> choose(const PriceTable& table, std::uint64_t bytes, std::optional<double> nanoseconds,
                                     std::size_t states) {
  if (!nanoseconds) {
    std::vector<std::vector<KnapsackOption>> plain;
    for (const auto& options : table) {
      auto& list = plain.emplace_back();
      for (const Priced& option : options) list.push_back({option.bytes, option.damage});
    }
    auto answer = solve_knapsack(plain, bytes, states);
    return answer ? std::optional(std::move(answer->choice)) : std::optional<Choice>();
  }
  std::vector<std::vector<MilpOption>> both;
  for (const auto& options : table) {
    auto& list = both.emplace_back();
    for (const Priced& option : options) {
      list.push_back({{static_cast<double>(option.bytes), option.nanoseconds}, option.damage});
    }
  }
  SPARING_TRY(const auto answer, solve_milp(both, {static_cast<double>(bytes), *nanoseconds}));
  if (!answer) return std::optional<Choice>();
  log_debug("[fit] integer program: within " + std::to_string(100 * answer->gap) + " % of the best there is");
  return std::optional(answer->choice);
}

std::vector<std::size_t> around(const SurveyedSite& site, std::size_t chosen, std::size_t reach) {
  std::map<std::string, std::vector<std::size_t>> frontiers;  // by method, by ascending bytes, damage falling
  for (std::size_t o = 0; o < site.options.size(); ++o) {
    auto& frontier = frontiers[site.options[o].setting.method];
    if (o != chosen && !frontier.empty() && !(site.damage[o] < site.damage[frontier.back()])) continue;
    frontier.push_back(o);
  }
  if (site.site.role != SiteRole::linear) reach *= 2;
  std::vector<std::size_t> wanted;
  for (const auto& [method, frontier] : frontiers) {
    const auto bytes = [&](std::size_t i) { return static_cast<double>(site.options[frontier[i]].bytes); };
    std::size_t at = 0;  // the last that is no dearer than what was chosen
    while (at + 1 < frontier.size() && site.options[frontier[at + 1]].bytes <= site.options[chosen].bytes) ++at;
    wanted.push_back(frontier[at]);
    std::size_t last = at, found = 0;
    for (std::size_t i = at + 1; i < frontier.size() && found < reach; ++i) {
      if (bytes(i) < kStep * bytes(last)) continue;
      wanted.push_back(frontier[last = i]);
      ++found;
    }
    last = at, found = 0;
    for (std::size_t i = at; i-- > 0 && found < reach;) {
      if (bytes(i) * kStep > bytes(last)) continue;
      wanted.push_back(frontier[last = i]);
      ++found;
    }
  }
  wanted.push_back(chosen);
  std::ranges::sort(wanted);
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  return wanted;
}

std::optional<RunnerUp> runner_up(const std::vector<Candidate>& candidates, const std::vector<Priced>& prices,
                                  std::size_t chosen) {
  std::optional<std::size_t> best;
  double gain = 0;
  for (std::size_t o = 0; o < prices.size(); ++o) {
    if (prices[o].bytes <= prices[chosen].bytes || !(prices[o].damage < prices[chosen].damage)) continue;
    const double each =
        (prices[chosen].damage - prices[o].damage) / static_cast<double>(prices[o].bytes - prices[chosen].bytes);
    if (each <= gain) continue;
    gain = each;
    best = o;
  }
  if (!best) return std::nullopt;
  const Setting& setting = candidates[*best].option.setting;
  RunnerUp next{setting.method, {}, prices[*best].bytes, prices[*best].damage};
  const ParamList& mine = candidates[chosen].option.setting.params;
  for (const auto& param : setting.params) {
    if (std::ranges::count(mine, param) == 0) next.params.push_back(param);
  }
  return next;
}

}  // namespace sparing
