#include "plan/uniform.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/units.h"

namespace sparing {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct Candidate {
  RatePair pair;
  std::uint64_t bytes;
  double estimate;  ///< of the pair: the two damages added
};

/// Those pairs that fit and that no other fitting pair covers in both parts.
std::vector<Candidate> maximal(const UniformProblem& problem, std::vector<Candidate> fitting) {
  const auto covered_by = [&](const Candidate& a, const Candidate& b) {
    const bool same = a.pair.linear == b.pair.linear && a.pair.embedding == b.pair.embedding;
    return !same && covers(problem.linear[b.pair.linear], problem.linear[a.pair.linear]) &&
           covers(problem.embedding[b.pair.embedding], problem.embedding[a.pair.embedding]);
  };
  std::vector<Candidate> kept;
  for (const Candidate& a : fitting) {
    if (std::ranges::none_of(fitting, [&](const Candidate& b) { return covered_by(a, b); })) kept.push_back(a);
  }
  return kept;
}

/// Damages of one part alone, measured once each, or known to be too high from a rate that covers it.
class Alone {
 public:
  Alone(const std::vector<Rate>& rates, std::function<Result<double>(std::size_t)> measure)
      : rates_(rates), measure_(std::move(measure)), known_(rates.size()) {}

  /// Infinite where some rate at least as precise has reached `limit` already.
  Result<double> at(std::size_t index, double limit) {
    if (known_[index]) return *known_[index];
    for (std::size_t i = 0; i < rates_.size(); ++i) {
      if (known_[i] && *known_[i] >= limit && covers(rates_[i], rates_[index])) return kInfinity;
    }
    SPARING_TRY(known_[index], measure_(index));
    return *known_[index];
  }

 private:
  const std::vector<Rate>& rates_;
  std::function<Result<double>(std::size_t)> measure_;
  std::vector<std::optional<double>> known_;
};

}  // namespace

std::string describe(const Rate& rate) {
  return std::to_string(rate.bits) + (rate.bits == 1 ? " bit" : " bits") + ", groups of " + std::to_string(rate.group);
}

Result<UniformAnswer> solve_uniform(const UniformProblem& problem) {
  std::vector<Candidate> fitting;
  std::uint64_t smallest = std::numeric_limits<std::uint64_t>::max();
  for (std::size_t l = 0; l < problem.linear.size(); ++l) {
    for (std::size_t e = 0; e < problem.embedding.size(); ++e) {
      SPARING_TRY(const std::uint64_t bytes, problem.bytes({l, e}));
      smallest = std::min(smallest, bytes);
      if (bytes <= problem.budget) fitting.push_back({{l, e}, bytes, kInfinity});
    }
  }
  if (fitting.empty()) {
    return resource_error("[fit] weights=" + std::to_string(problem.budget) +
                          ": no setting is that small; the smallest reachable is " + std::to_string(smallest) +
                          " bytes (" + format_bytes(smallest) + ")");
  }
  std::vector<Candidate> candidates = maximal(problem, std::move(fitting));
  // The most precise first: what they cost bounds what is worth measuring after them.
  std::ranges::stable_sort(candidates, [&](const Candidate& a, const Candidate& b) {
    const auto weakest = [&](const Candidate& c) {
      return std::min(problem.linear[c.pair.linear].bits, problem.embedding[c.pair.embedding].bits);
    };
    return weakest(a) > weakest(b);
  });

  UniformAnswer answer;
  const auto measured = [&](std::optional<std::size_t> l, std::optional<std::size_t> e) {
    ++answer.measurements;
    return problem.damage(l, e);
  };
  Alone linear(problem.linear, [&](std::size_t i) { return measured(i, std::nullopt); });
  Alone embedding(problem.embedding, [&](std::size_t i) { return measured(std::nullopt, i); });
  std::vector<double> best;  // the finalists' estimates, ascending
  const auto limit = [&] { return best.size() < problem.finalists ? kInfinity : best.back(); };
  for (Candidate& c : candidates) {
    SPARING_TRY(const double of_linear, linear.at(c.pair.linear, limit()));
    if (of_linear >= limit()) continue;
    SPARING_TRY(const double of_embedding, embedding.at(c.pair.embedding, limit()));
    c.estimate = of_linear + of_embedding;
    if (!(c.estimate < limit())) continue;
    best.insert(std::ranges::upper_bound(best, c.estimate), c.estimate);
    if (best.size() > problem.finalists) best.pop_back();
  }
  std::ranges::stable_sort(candidates, {}, &Candidate::estimate);
  candidates.resize(std::min(candidates.size(), std::max<std::size_t>(problem.finalists, 1)));
  answer.damage = kInfinity;
  for (const Candidate& c : candidates) {
    if (c.estimate == kInfinity && &c != &candidates.front()) break;
    SPARING_TRY(const double damage, measured(c.pair.linear, c.pair.embedding));
    if (damage < answer.damage || answer.damage == kInfinity) {
      answer.pair = c.pair;
      answer.bytes = c.bytes;
      answer.damage = damage;
    }
  }
  return answer;
}

}  // namespace sparing
