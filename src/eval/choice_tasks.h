#pragma once
// Multiple-choice tasks: which of several continuations a model finds likeliest.
//
// Scored as lm-evaluation-harness does: log p of each continuation after the context, summed over its tokens; the
// "norm" answer divides the sum by the continuation's length in characters.

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eval/statistics.h"
#include "runtime/engine.h"
#include "text/tokenizer.h"

namespace sparing {

struct ChoiceTask {
  std::string context;               ///< "Question: ...\nAnswer:"
  std::vector<std::string> choices;  ///< each begins with the blank that parts it from the context
  std::int32_t answer = 0;
};

/// One task a line, as PIQA (goal, sol1, sol2), HellaSwag (ctx, endings, label), ARC (question, choices: {text, label},
/// answerKey), MMLU (question, choices, answer) and others alike have it: a context under question, goal, query, ctx,
/// context or prompt; choices under choices, endings or options; the answer under answer, label, gold or answerKey, a
/// number or a letter. Or what lm-evaluation-harness logs: requests under arguments and the answer under target, or the
/// question under doc. `labels`: answers a line each, where the lines have none. `where` begins the messages, which
/// name the line and the field. At most `most` tasks (0: all).
Result<std::vector<ChoiceTask>> read_choice_tasks(std::string_view lines, std::string_view labels,
                                                  const std::string& where, std::int64_t most = 0);

struct ChoiceScore {
  std::vector<double> log_p;  ///< summed, by choice
  std::int32_t picked = 0, picked_norm = 0;
  double p_answer = 0;  ///< of the right choice among the choices
};

/// Scores every task on sequence 0 of the engine; long contexts lose their beginning. `on_task` after each.
Result<std::vector<ChoiceScore>> score_choices(Engine& engine, const Tokenizer& tokenizer,
                                               std::span<const ChoiceTask> tasks,
                                               const std::function<void()>& on_task = {});

/// A share with Wilson's interval at 95 %.
struct Share {
  double value = 0, low = 0, high = 0;
};
Share share_of(std::int64_t count, std::int64_t of);
/// McNemar's exact test: how likely a split at least as uneven is if neither side were favoured. Two-sided.
double mcnemar(std::int64_t lost, std::int64_t won);

struct ChoiceSummary {
  std::int64_t tasks = 0;
  Share accuracy, accuracy_norm;
  double likelihood = 0;  ///< mean p of the right choice among the choices
};
ChoiceSummary summarise(std::span<const ChoiceTask> tasks, std::span<const ChoiceScore> scores);

/// A candidate beside its reference, on the same tasks, by the plain answer.
struct ChoiceComparison {
  std::int64_t lost = 0, won = 0;     ///< right before and wrong now; wrong before and right now
  std::int64_t changed = 0;           ///< another choice, right or wrong
  Share flips;                        ///< (lost + won) of all tasks (arXiv:2407.09141)
  Share retained;                     ///< of what the reference gets right
  double p_value = 1;                 ///< McNemar's
  std::vector<std::int64_t> flipped;  ///< tasks that flipped
};
ChoiceComparison compare(std::span<const ChoiceTask> tasks, std::span<const ChoiceScore> reference,
                         std::span<const ChoiceScore> candidate);

}  // namespace sparing
