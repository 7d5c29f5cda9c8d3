#include "plan/knapsack.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/checked.h"

namespace sparing {
namespace {

constexpr std::size_t kAtOnce = 4;  ///< states looked at, in max_states, beyond which not all are held

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

/// Indices of the options that no other beats on both counts, by cost.
std::vector<std::uint32_t> undominated(const std::vector<KnapsackOption>& options) {
  std::vector<std::uint32_t> order(options.size()), kept;
  std::iota(order.begin(), order.end(), 0u);
  std::ranges::stable_sort(order, [&](std::uint32_t a, std::uint32_t b) {
    return options[a].cost != options[b].cost ? options[a].cost < options[b].cost
                                              : options[a].damage < options[b].damage;
  });
  for (const std::uint32_t o : order) {
    if (kept.empty() || options[o].damage < options[kept.back()].damage) kept.push_back(o);
  }
  return kept;
}

/// Calls f with every way to go on from these states.
template <class F>
void for_ways(const std::vector<State>& before, const std::vector<KnapsackOption>& options,
              const std::vector<std::uint32_t>& chosen, std::uint64_t room, F f) {
  for (const std::uint32_t o : chosen) {
    for (std::size_t p = 0; p < before.size(); ++p) {
      const auto cost = checked_add(before[p].cost, options[o].cost);
      if (!cost || *cost > room) break;
      f(State{*cost, before[p].damage + options[o].damage, static_cast<std::uint32_t>(p), o});
    }
  }
}

/// As keep_frontier() and thin() on all of them, without all of them at once: the best of each interval.
std::vector<State> best_ways(const std::vector<State>& before, const std::vector<KnapsackOption>& options,
                             const std::vector<std::uint32_t>& chosen, std::uint64_t room, std::size_t limit) {
  const std::uint64_t low = before.front().cost + options[chosen.front()].cost;
  const std::uint64_t width = (room - low) / limit + 1;
  std::vector<State> best(limit, {0, std::numeric_limits<double>::infinity(), 0, 0});
  std::optional<State> cheapest;
  for_ways(before, options, chosen, room, [&](const State& state) {
    if (!cheapest || state.cost < cheapest->cost) cheapest = state;
    State& held = best[(state.cost - low) / width];
    if (state.damage < held.damage || (state.damage == held.damage && state.cost < held.cost)) held = state;
  });
  std::erase_if(best, [](const State& state) { return std::isinf(state.damage); });
  best.insert(best.begin(), *cheapest);
  keep_frontier(best);
  return best;
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
    const std::vector<std::uint32_t> chosen = undominated(sites[s]);
    std::vector<State> after;
    if (before.size() * chosen.size() > kAtOnce * std::max<std::size_t>(max_states, 1)) {
      after = best_ways(before, sites[s], chosen, room, std::max<std::size_t>(max_states, 1));
      answer.exact = false;
    } else {
      for_ways(before, sites[s], chosen, room, [&](const State& state) { after.push_back(state); });
      keep_frontier(after);
    }
    if (after.size() > max_states) {
      thin(after, std::max<std::size_t>(max_states, 1));
      answer.exact = false;
    }
    layers.emplace_back(after.begin(), after.end());  // no longer than it need be
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
