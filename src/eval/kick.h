#pragma once
// Does a compressed model still do what the original did? Probes of knowledge, of retrieval from the prompt and of
// arithmetic, beside perplexity, which can stay where it is while one of them falls (after LLM-KICK, arXiv:2310.01382).
// Questions are multiple choice, made here and scored as tasks are.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/choice_tasks.h"

namespace sparing {

struct Probe {
  std::string name;
  std::vector<ChoiceTask> tasks;
};

/// Knowledge, retrieval and arithmetic, `questions` of each (knowledge: at most as many as there are facts). The same
/// seed gives the same questions. Each has four different choices, the right one at a random place.
std::vector<Probe> kick_probes(std::int64_t questions, std::uint64_t seed);

using ProbeScores = std::vector<std::vector<ChoiceScore>>;  ///< by probe, by question

struct ProbeOutcome {
  std::string name;
  ChoiceSummary candidate;
  std::optional<ChoiceSummary> reference;
  std::optional<ChoiceComparison> against;
  double drop = 0;  ///< the reference's accuracy less the candidate's, in points of a hundred
};

/// reference: empty where there is none.
std::vector<ProbeOutcome> probe_outcomes(std::span<const Probe> probes, const ProbeScores& candidate,
                                         const ProbeScores& reference);

inline constexpr double kHiddenLossRatio = 1.05, kHiddenLossPoints = 5;
/// One line for each probe that drops by more than 5 points while perplexity rises by less than 5 %: what perplexity
/// hides. `ppl_ratio`: candidate / reference.
std::vector<std::string> hidden_losses(std::span<const ProbeOutcome> outcomes, double ppl_ratio);

}  // namespace sparing
