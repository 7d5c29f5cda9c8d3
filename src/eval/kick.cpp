#include "eval/kick.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>

#include "base/rng.h"
#include "eval/facts.h"

namespace sparing {
namespace {

constexpr std::size_t kChoices = 4;
// A stream of its own for each probe: the number of questions of one changes no other.
constexpr std::uint64_t kKnowledgeStream = 1, kRetrievalStream = 2, kArithmeticStream = 3;

template <class T>
void shuffle(std::vector<T>& items, Rng& rng) {
  for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[rng.below(i)]);
}

/// The answer among wrong ones, at a random place. `wrong` holds at least three others.
ChoiceTask question(std::string context, const std::string& answer, std::vector<std::string> wrong, Rng& rng) {
  shuffle(wrong, rng);
  wrong.resize(kChoices - 1);
  const auto at = static_cast<std::size_t>(rng.below(kChoices));
  wrong.insert(wrong.begin() + static_cast<std::ptrdiff_t>(at), answer);
  ChoiceTask task;
  task.context = std::move(context);
  for (const std::string& choice : wrong) task.choices.push_back(" " + choice);
  task.answer = static_cast<std::int32_t>(at);
  return task;
}

std::vector<std::string> others(const Relation& relation, std::string_view answer) {
  std::vector<std::string> wrong;
  for (const Fact& fact : relation.facts) {
    if (fact.object != answer && std::ranges::find(wrong, fact.object) == wrong.end()) wrong.emplace_back(fact.object);
  }
  return wrong;
}

std::vector<ChoiceTask> knowledge(std::int64_t questions, Rng rng) {
  std::vector<std::pair<const Relation*, const Fact*>> all;
  for (const Relation& relation : all_relations()) {
    for (const Fact& fact : relation.facts) all.emplace_back(&relation, &fact);
  }
  shuffle(all, rng);
  all.resize(std::min(all.size(), static_cast<std::size_t>(questions)));
  std::vector<ChoiceTask> tasks;
  for (const auto& [relation, fact] : all) {
    const std::string text = std::string(relation->before) + std::string(fact->subject) + std::string(relation->after);
    tasks.push_back(question(text, std::string(fact->object), others(*relation, fact->object), rng));
  }
  return tasks;
}

/// Things and numbers that have nothing to do with each other: only the prompt says which belongs to which.
std::vector<ChoiceTask> retrieval(std::int64_t questions, Rng rng) {
  constexpr std::size_t kLines = 8;
  const std::vector<std::string> colours = {"red", "blue", "green", "black", "white", "yellow", "brown", "grey"};
  const std::vector<std::string> things = {"box",  "door", "cup",   "house", "boat",
                                           "book", "hat",  "chair", "lamp",  "coat"};
  std::vector<ChoiceTask> tasks;
  for (std::int64_t q = 0; q < questions; ++q) {
    std::vector<std::string> keys, values;
    while (keys.size() < kLines) {
      const std::string key = colours[rng.below(colours.size())] + " " + things[rng.below(things.size())];
      if (std::ranges::find(keys, key) == keys.end()) keys.push_back(key);
    }
    while (values.size() < kLines) {
      const std::string value = std::to_string(10 + rng.below(90));
      if (std::ranges::find(values, value) == values.end()) values.push_back(value);
    }
    std::string text;
    for (std::size_t i = 0; i < kLines; ++i) text += "The number of the " + keys[i] + " is " + values[i] + ".\n";
    const auto asked = static_cast<std::size_t>(rng.below(kLines));
    const std::string answer = values[asked];
    values.erase(values.begin() + static_cast<std::ptrdiff_t>(asked));
    tasks.push_back(question(text + "The number of the " + keys[asked] + " is", answer, values, rng));
  }
  return tasks;
}

struct Sum {
  std::int64_t a, b, result;
  char sign;
};

Sum draw_sum(Rng& rng) {
  const auto below = [&](std::uint64_t n) { return static_cast<std::int64_t>(rng.below(n)); };
  switch (rng.below(3)) {
    case 0: {
      const std::int64_t a = 2 + below(48), b = 2 + below(48);
      return {a, b, a + b, '+'};
    }
    case 1: {
      const std::int64_t b = 1 + below(30), a = b + 1 + below(30);
      return {a, b, a - b, '-'};
    }
    default: {
      const std::int64_t a = 2 + below(8), b = 2 + below(8);
      return {a, b, a * b, '*'};
    }
  }
}

std::string written(const Sum& sum) {
  return std::to_string(sum.a) + " " + sum.sign + " " + std::to_string(sum.b) + " =";
}

/// Two solved sums of the same kind, then one to solve. Wrong answers are near the right one.
std::vector<ChoiceTask> arithmetic(std::int64_t questions, Rng rng) {
  constexpr std::array<std::int64_t, 6> kOff = {-10, -2, -1, 1, 2, 10};
  std::vector<ChoiceTask> tasks;
  for (std::int64_t q = 0; q < questions; ++q) {
    const Sum asked = draw_sum(rng);
    std::string text;
    for (int shown = 0; shown < 2;) {
      const Sum example = draw_sum(rng);
      if (example.sign != asked.sign || written(example) == written(asked)) continue;
      text += written(example) + " " + std::to_string(example.result) + "\n";
      ++shown;
    }
    std::vector<std::string> wrong;
    for (const std::int64_t off : kOff) {
      if (asked.result + off > 0) wrong.push_back(std::to_string(asked.result + off));
    }
    tasks.push_back(question(text + written(asked), std::to_string(asked.result), std::move(wrong), rng));
  }
  return tasks;
}

}  // namespace

std::vector<Probe> kick_probes(std::int64_t questions, std::uint64_t seed) {
  return {{"knowledge", knowledge(questions, Rng(seed, kKnowledgeStream))},
          {"retrieval", retrieval(questions, Rng(seed, kRetrievalStream))},
          {"arithmetic", arithmetic(questions, Rng(seed, kArithmeticStream))}};
}

std::vector<ProbeOutcome> probe_outcomes(std::span<const Probe> probes, const ProbeScores& candidate,
                                         const ProbeScores& reference) {
  std::vector<ProbeOutcome> outcomes;
  for (std::size_t i = 0; i < probes.size(); ++i) {
    ProbeOutcome o;
    o.name = probes[i].name;
    o.candidate = summarise(probes[i].tasks, candidate[i]);
    if (!reference.empty()) {
      o.reference = summarise(probes[i].tasks, reference[i]);
      o.against = compare(probes[i].tasks, reference[i], candidate[i]);
      o.drop = 100 * (o.reference->accuracy.value - o.candidate.accuracy.value);
    }
    outcomes.push_back(std::move(o));
  }
  return outcomes;
}

std::vector<std::string> hidden_losses(std::span<const ProbeOutcome> outcomes, double ppl_ratio) {
  std::vector<std::string> lines;
  if (!(ppl_ratio < kHiddenLossRatio)) return lines;
  for (const ProbeOutcome& o : outcomes) {
    if (!(o.drop > kHiddenLossPoints)) continue;
    char text[160];
    std::snprintf(text, sizeof text, "%s fell by %.1f points (p = %.3f) while perplexity changed by %.1f %%",
                  o.name.c_str(), o.drop, o.against ? o.against->p_value : 1.0, 100 * (ppl_ratio - 1));
    lines.emplace_back(text);
    if (o.against && o.against->p_value > 0.05) lines.back() += "; as few questions may do that by chance";
  }
  return lines;
}

}  // namespace sparing
