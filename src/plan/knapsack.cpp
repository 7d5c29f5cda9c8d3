#include "plan/knapsack.h"

#include <algorithm>
#include <limits>

#include "base/checked.h"

namespace sparing {
namespace {

struct State {
  std::uint64_t cost;
  double damage;
  std::uint32_t parent, option;
};

/// Keeps states that no other beats on both counts, in order of cost.
void keep_frontier(std::vector<State>& states) {
  std::ranges::stable_sort(
      states, [](const State& a, const State& b) { return a.cost != b.cost ? a.cost < b.cost : a.damage < b.damage; });
  double best = std::numeric_limits<double>::infinity();
  std::size_t kept = 0;
  for (const State& state : states) {
    if (!(state.damage < best)) continue;
    best = state.damage;
    states[kept++] = state;
  }
  states.resize(kept);
}

/// The least damage in each of `limit` equal intervals of cost, and the cheapest state.
void thin(std::vector<State>& states, std::size_t limit) {
  const std::uint64_t low = states.front().cost, span = states.back().cost - low;
  const std::uint64_t width = ceil_div(span + 1, limit);
  std::size_t kept = 1;
  for (std::size_t i = 1; i < states.size(); ++i) {
    // Sorted by cost with damage falling: the last of an interval is its best.
    const bool last = i + 1 == states.size() || (states[i + 1].cost - low) / width != (states[i].cost - low) / width;
    if (last) states[kept++] = states[i];
  }
  states.resize(kept);
}

}  // namespace

std::uint64_t smallest_cost(const std::vector<std::vector<KnapsackOption>>& sites) {
  std::uint64_t sum = 0;
  for (const auto& options : sites) {
    std::uint64_t least = std::numeric_limits<std::uint64_t>::max();
    for (const KnapsackOption& option : options) least = std::min(least, option.cost);
    sum = checked_add(sum, least).value_or(std::numeric_limits<std::uint64_t>::max());
  }
  return sum;
}

std::optional<KnapsackAnswer> solve_knapsack(const std::vector<std::vector<KnapsackOption>>& sites,
                                             std::uint64_t budget, std::size_t max_states) {
  // What the sites still to come cost at least: a state that cannot be completed is dropped at once.
  std::vector<std::uint64_t> rest(sites.size() + 1, 0);
  for (std::size_t s = sites.size(); s-- > 0;) {
    if (sites[s].empty()) return std::nullopt;
    const auto sum = checked_add(rest[s + 1], smallest_cost({sites[s]}));
    if (!sum || *sum > budget) return std::nullopt;
    rest[s] = *sum;
  }
  KnapsackAnswer answer;
  std::vector<std::vector<State>> layers(1, {{0, 0.0, 0, 0}});
  for (std::size_t s = 0; s < sites.size(); ++s) {
    const std::uint64_t room = budget - rest[s + 1];
    const std::vector<State>& before = layers.back();
    std::vector<State> after;
    for (std::size_t o = 0; o < sites[s].size(); ++o) {
      for (std::size_t p = 0; p < before.size(); ++p) {
        const auto cost = checked_add(before[p].cost, sites[s][o].cost);
        if (!cost || *cost > room) break;
        after.push_back({*cost, before[p].damage + sites[s][o].damage, static_cast<std::uint32_t>(p),
                         static_cast<std::uint32_t>(o)});
      }
    }
    keep_frontier(after);
    if (after.size() > max_states) {
      thin(after, std::max<std::size_t>(max_states, 1));
      answer.exact = false;
    }
    layers.push_back(std::move(after));
  }
  const State* state = &layers.back().back();
  answer.cost = state->cost;
  answer.damage = state->damage;
  answer.choice.resize(sites.size());
  for (std::size_t s = sites.size(); s > 0; --s) {
    answer.choice[s - 1] = state->option;
    state = &layers[s - 1][state->parent];
  }
  return answer;
}

}  // namespace sparing
