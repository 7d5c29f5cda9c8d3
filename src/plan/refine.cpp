#include "plan/refine.h"

#include <algorithm>
#include <limits>

#include "base/log.h"
#include "base/progress.h"
#include "plan/evopress.h"

namespace sparing {
namespace {

constexpr std::size_t kOffspring = 16, kSecondStage = 4;

}  // namespace

Result<Choice> refine(const Refinement& refinement, const Choice& start) {
  const PriceTable& table = refinement.table;
  SearchProblem problem;
  std::vector<std::vector<std::size_t>> levels;  // of each site, by ascending cost, none dominated
  Choice at_level;
  for (std::size_t i = 0; i < table.size(); ++i) {
    auto& list = levels.emplace_back();
    auto& options = problem.sites.emplace_back();
    for (std::size_t o = 0; o < table[i].size(); ++o) {
      const bool helps = list.empty() || table[i][o].damage < table[i][list.back()].damage;
      if (o == start[i]) at_level.push_back(list.size());
      if (o != start[i] && !helps) continue;
      list.push_back(o);
      options.push_back({table[i][o].bytes, table[i][o].damage});
    }
  }
  const auto original = [&](const Choice& at) {
    Choice real;
    for (std::size_t i = 0; i < at.size(); ++i) real.push_back(levels[i][at[i]]);
    return real;
  };
  problem.budget = refinement.budget;
  problem.offspring = kOffspring;
  problem.stages = {{2, kSecondStage}, {std::min<std::int64_t>(8, refinement.windows), 1}, {refinement.windows, 1}};
  problem.generations = refinement.generations;
  problem.seed = refinement.seed;
  Progress progress("searching", refinement.generations * static_cast<std::int64_t>(kOffspring + kSecondStage + 2),
                    "measurement");
  problem.damage = [&](const Choice& at, std::int64_t windows) -> Result<double> {
    progress.advance(1);
    const Choice real = original(at);
    SPARING_TRY(const bool allowed, refinement.allowed(real));
    if (!allowed) return std::numeric_limits<double>::infinity();
    return refinement.damage(real, windows);
  };
  SPARING_TRY(const SearchAnswer answer, evopress(problem, std::move(at_level)));
  progress.finish();
  log_info("[fit] search: KL " + std::to_string(answer.start) + " -> " + std::to_string(answer.damage) + ", " +
           std::to_string(answer.improved) + " of " + std::to_string(refinement.generations) +
           " generations found something better");
  return original(answer.choice);
}

}  // namespace sparing
