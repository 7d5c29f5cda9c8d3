#include "eval/kick.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "eval/facts.h"

namespace sparing {
namespace {

bool same(const Probe& a, const Probe& b) {
  return std::ranges::equal(a.tasks, b.tasks, [](const ChoiceTask& x, const ChoiceTask& y) {
    return x.context == y.context && x.choices == y.choices && x.answer == y.answer;
  });
}

TEST(Kick, QuestionsAreFourDifferentChoicesByTheSeed) {
  const auto probes = kick_probes(60, 5), again = kick_probes(60, 5), other = kick_probes(60, 6);
  ASSERT_EQ(probes.size(), 3u);
  for (std::size_t p = 0; p < probes.size(); ++p) {
    SCOPED_TRACE(probes[p].name);
    EXPECT_EQ(probes[p].tasks.size(), 60u);
    EXPECT_TRUE(same(probes[p], again[p]));
    EXPECT_FALSE(same(probes[p], other[p]));
    std::set<std::int32_t> places;
    for (const ChoiceTask& task : probes[p].tasks) {
      EXPECT_EQ(std::set<std::string>(task.choices.begin(), task.choices.end()).size(), 4u) << task.context;
      for (const std::string& choice : task.choices) EXPECT_EQ(choice.find(' '), 0u);
      places.insert(task.answer);
    }
    EXPECT_EQ(places.size(), 4u) << "the right answer stands anywhere";
  }
}

TEST(Kick, AnswersAreRight) {
  const auto probes = kick_probes(80, 1);
  for (const ChoiceTask& task : probes[0].tasks) {
    bool known = false;
    for (const Relation& relation : all_relations()) {
      for (const Fact& fact : relation.facts) {
        const std::string text = std::string(relation.before) + std::string(fact.subject) + std::string(relation.after);
        known = known || (text == task.context &&
                          " " + std::string(fact.object) == task.choices[static_cast<std::size_t>(task.answer)]);
      }
    }
    EXPECT_TRUE(known) << task.context;
  }
  for (const ChoiceTask& task : probes[1].tasks) {
    const std::string asked = task.context.substr(task.context.rfind('\n') + 1);
    for (std::size_t k = 0; k < 4; ++k) {
      EXPECT_NE(task.context.find(task.choices[k] + "."), std::string::npos) << "every choice is in the prompt";
      const bool line = task.context.find(asked + task.choices[k] + ".") != std::string::npos;
      EXPECT_EQ(line, k == static_cast<std::size_t>(task.answer)) << task.context;
    }
  }
  for (const ChoiceTask& task : probes[2].tasks) {
    int a = 0, b = 0;
    char sign = 0;
    const std::string asked = task.context.substr(task.context.rfind('\n') + 1);
    ASSERT_EQ(std::sscanf(asked.c_str(), "%d %c %d =", &a, &sign, &b), 3) << asked;
    const int result = sign == '+' ? a + b : sign == '-' ? a - b : a * b;
    EXPECT_EQ(task.choices[static_cast<std::size_t>(task.answer)], " " + std::to_string(result)) << asked;
  }
}

TEST(Kick, ThereAreEnoughFactsAndNoneTwice) {
  std::size_t facts = 0;
  for (const Relation& relation : all_relations()) {
    std::set<std::string_view> subjects;
    for (const Fact& fact : relation.facts) EXPECT_TRUE(subjects.insert(fact.subject).second) << fact.subject;
    facts += relation.facts.size();
  }
  EXPECT_GE(facts, 200u);
  EXPECT_EQ(kick_probes(100000, 0)[0].tasks.size(), facts);
}

TEST(Kick, WarnsOfWhatPerplexityHides) {
  std::vector<Probe> probes = {{"knowledge", {}}, {"retrieval", {}}};
  ProbeScores before(2), now(2);
  const auto picked = [](std::int32_t choice) {
    ChoiceScore score;
    score.picked = score.picked_norm = choice;
    return score;
  };
  for (int i = 0; i < 100; ++i) {
    for (std::size_t p = 0; p < 2; ++p) {
      probes[p].tasks.push_back({"c", {" a", " b"}, 0});
      before[p].push_back(picked(i < 80 ? 0 : 1));
    }
    now[0].push_back(picked(i < 74 ? 0 : 1));
    now[1].push_back(picked(i < 76 ? 0 : 1));
  }
  const auto outcomes = probe_outcomes(probes, now, before);
  EXPECT_NEAR(outcomes[0].drop, 6, 1e-9);
  EXPECT_EQ(outcomes[0].against->lost, 6);
  EXPECT_DOUBLE_EQ(outcomes[0].against->retained.value, 74.0 / 80);
  const auto lines = hidden_losses(outcomes, 1.03);
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].find("knowledge fell by 6.0 points (p = 0.031) while perplexity changed by 3.0 %"), 0u)
      << lines[0];
  EXPECT_EQ(lines[0].find("chance"), std::string::npos);
  EXPECT_TRUE(hidden_losses(outcomes, 1.06).empty()) << "perplexity hides nothing here";
  EXPECT_TRUE(probe_outcomes(probes, now, {})[0].against == std::nullopt);
}

}  // namespace
}  // namespace sparing
