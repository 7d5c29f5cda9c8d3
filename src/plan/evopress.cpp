#include "plan/evopress.h"

#include <algorithm>
#include <set>

#include "base/rng.h"

namespace sparing {
namespace {

using Choice = std::vector<std::size_t>;

std::uint64_t cost_of(const SearchProblem& problem, const Choice& choice) {
  std::uint64_t sum = 0;
  for (std::size_t s = 0; s < choice.size(); ++s) sum += problem.sites[s][choice[s]].cost;
  return sum;
}

/// One site up a level, then others down (drawn at random) until the budget is met again; what is then left is spent on
/// a level that fits. False where there was nothing to do.
bool switch_levels(const SearchProblem& problem, Choice& choice, Rng& rng) {
  const std::size_t sites = choice.size();
  const auto movable = [&](std::size_t s, bool up) {
    return up ? choice[s] + 1 < problem.sites[s].size() : choice[s] > 0;
  };
  std::vector<std::size_t> can;
  for (std::size_t s = 0; s < sites; ++s) {
    if (movable(s, true)) can.push_back(s);
  }
  if (can.empty()) return false;
  const std::size_t raised = can[rng.below(can.size())];
  ++choice[raised];
  while (cost_of(problem, choice) > problem.budget) {
    can.clear();
    for (std::size_t s = 0; s < sites; ++s) {
      if (s != raised && movable(s, false)) can.push_back(s);
    }
    if (can.empty()) return false;
    --choice[can[rng.below(can.size())]];
  }
  return true;
}

}  // namespace

Result<SearchAnswer> evopress(const SearchProblem& problem, Choice start) {
  if (problem.stages.empty()) return internal_error("[evopress] no stages");
  SearchAnswer answer;
  const std::int64_t most = problem.stages.back().windows;
  SPARING_TRY(answer.damage, problem.damage(start, most));
  answer.start = answer.damage;
  answer.choice = std::move(start);
  for (std::int64_t generation = 0; generation < problem.generations; ++generation) {
    Rng rng(problem.seed, static_cast<std::uint64_t>(generation));
    std::vector<Choice> pool;
    std::set<Choice> seen = {answer.choice};
    for (std::size_t i = 0; i < 4 * problem.offspring && pool.size() < problem.offspring; ++i) {
      Choice child = answer.choice;
      // As published: few switches more often than many.
      const std::uint64_t switches = std::min(1 + rng.below(3), 1 + rng.below(3));
      bool valid = true;
      for (std::uint64_t k = 0; k < switches && valid; ++k) valid = switch_levels(problem, child, rng);
      if (valid && seen.insert(child).second) pool.push_back(std::move(child));
    }
    if (pool.empty()) break;
    for (std::size_t stage = 0; stage < problem.stages.size() && !pool.empty(); ++stage) {
      std::vector<std::pair<double, std::size_t>> ranked;
      for (std::size_t i = 0; i < pool.size(); ++i) {
        SPARING_TRY(const double damage, problem.damage(pool[i], problem.stages[stage].windows));
        ranked.emplace_back(damage, i);
      }
      std::ranges::sort(ranked);
      ranked.resize(std::min(ranked.size(), std::max<std::size_t>(problem.stages[stage].survivors, 1)));
      std::vector<Choice> left;
      for (const auto& [damage, i] : ranked) left.push_back(pool[i]);
      pool = std::move(left);
      if (stage + 1 < problem.stages.size() || !(ranked.front().first < answer.damage)) continue;
      answer.damage = ranked.front().first;
      answer.choice = pool.front();
      ++answer.improved;
    }
  }
  return answer;
}

}  // namespace sparing
