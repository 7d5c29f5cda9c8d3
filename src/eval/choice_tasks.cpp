#include "eval/choice_tasks.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include "base/interrupt.h"
#include "eval/distribution.h"
#include "formats/json.h"

namespace sparing {
namespace {

using nlohmann::json;

constexpr std::size_t kMostChoices = 64, kLongestLine = 1 << 20;

const json* first_of(const json& line, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    if (line.contains(key) && !line[key].is_null()) return &line[key];
  }
  return nullptr;
}

Error missing(const std::string& at, const std::string& what) {
  return input_error(at + ": " + what);
}

Result<std::string> read_context(const json& line, const std::string& at) {
  if (const json* question = first_of(line, {"goal", "question"}); question != nullptr) {
    if (!question->is_string()) return missing(at, "the question is not a text");
    return "Question: " + question->get<std::string>() + "\nAnswer:";
  }
  const json* context = first_of(line, {"query", "ctx", "context", "prompt"});
  if (context == nullptr || !context->is_string()) {
    return missing(at, "no context: a text under goal, question, query, ctx, context or prompt is needed");
  }
  return context->get<std::string>();
}

/// The choices' texts and, where the file names them, their labels.
struct Choices {
  std::vector<std::string> texts, labels;
};

Status read_texts(const json& list, const std::string& at, std::vector<std::string>& out) {
  if (!list.is_array()) return missing(at, "the choices are not a list");
  for (const json& item : list) {
    if (!item.is_string()) return missing(at, "choice " + std::to_string(out.size()) + " is not a text");
    out.push_back(item.get<std::string>());
  }
  return {};
}

Result<Choices> read_choices(const json& line, const std::string& at) {
  Choices choices;
  if (line.contains("sol1") || line.contains("sol2")) {
    for (const char* key : {"sol1", "sol2"}) {
      const json* text = first_of(line, {key});
      if (text == nullptr || !text->is_string()) return missing(at, std::string("field ") + key + " is missing");
      choices.texts.push_back(text->get<std::string>());
    }
    return choices;
  }
  const json* list = first_of(line, {"choices", "endings", "options"});
  if (list == nullptr) return missing(at, "no choices: a list under choices, endings or options, or sol1 and sol2");
  if (list->is_object()) {
    const json* texts = first_of(*list, {"text"});
    if (texts == nullptr) return missing(at, "choices.text is missing");
    SPARING_CHECK_OK(read_texts(*texts, at, choices.texts));
    if (const json* labels = first_of(*list, {"label"}); labels != nullptr) {
      SPARING_CHECK_OK(read_texts(*labels, at, choices.labels));
    }
  } else {
    SPARING_CHECK_OK(read_texts(*list, at, choices.texts));
  }
  if (choices.texts.size() < 2 || choices.texts.size() > kMostChoices) {
    return missing(at, std::to_string(choices.texts.size()) + " choices: 2 to 64 are scored");
  }
  return choices;
}

/// A number counts from 0; a letter from A; a label is looked up first.
std::optional<std::int32_t> answer_from(std::string_view text, const Choices& choices) {
  const auto named = std::find(choices.labels.begin(), choices.labels.end(), text);
  if (named != choices.labels.end()) return static_cast<std::int32_t>(named - choices.labels.begin());
  if (text.size() == 1 && text[0] >= 'A' && text[0] <= 'Z') return text[0] - 'A';
  std::int32_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

Result<std::int32_t> read_answer(const json& line, std::string_view label, const Choices& choices,
                                 const std::string& at) {
  const json* field = first_of(line, {"answer", "label", "gold", "answerKey", "target"});
  std::optional<std::int32_t> answer;
  if (field == nullptr) {
    if (label.empty()) return missing(at, "no answer: a field answer, label, gold or answerKey, or --labels");
    answer = answer_from(label, choices);
  } else if (field->is_number_integer()) {
    const auto number = field->get<std::int64_t>();
    if (number >= 0 && number < static_cast<std::int64_t>(kMostChoices)) answer = static_cast<std::int32_t>(number);
  } else if (field->is_string()) {
    answer = answer_from(field->get<std::string>(), choices);
  }
  if (!answer || *answer < 0 || *answer >= static_cast<std::int32_t>(choices.texts.size())) {
    return missing(at, "the answer " + (field == nullptr ? shown(label) : shown(dump_json(*field))) +
                           " is none of the " + std::to_string(choices.texts.size()) + " choices");
  }
  return *answer;
}

/// [context, continuation] of one logged request: a list of two texts, or an object with arg_0 and arg_1.
Result<std::pair<std::string, std::string>> read_request(const json& request, const std::string& at) {
  const json *context = nullptr, *continuation = nullptr;
  if (request.is_array() && request.size() == 2) {
    context = &request[0], continuation = &request[1];
  } else if (request.is_object()) {
    context = first_of(request, {"arg_0"}), continuation = first_of(request, {"arg_1"});
  }
  if (context == nullptr || continuation == nullptr || !context->is_string() || !continuation->is_string()) {
    return missing(at, "a request under arguments is not a context and a continuation");
  }
  return std::pair{context->get<std::string>(), continuation->get<std::string>()};
}

/// What lm-evaluation-harness logs of a multiple-choice question: the requests it made, one a choice, and the target.
Result<ChoiceTask> read_logged(const json& line, std::string_view label, const std::string& at) {
  const json& arguments = line["arguments"];
  ChoiceTask task;
  Choices choices;
  for (const json& request : arguments) {
    SPARING_TRY(auto texts, read_request(request, at));
    if (!task.choices.empty() && texts.first != task.context) {
      return missing(at, "its requests have different contexts: only choices after one context are scored");
    }
    task.context = std::move(texts.first);
    task.choices.push_back(std::move(texts.second));
  }
  if (task.choices.size() < 2 || task.choices.size() > kMostChoices) {
    return missing(at, std::to_string(task.choices.size()) + " requests under arguments: 2 to 64 are scored");
  }
  choices.texts = task.choices;
  SPARING_TRY(task.answer, read_answer(line, label, choices, at));
  return task;
}

Result<ChoiceTask> read_task(const json& line, std::string_view label, const std::string& at) {
  if (const json* logged = first_of(line, {"arguments"}); logged != nullptr && logged->is_structured()) {
    return read_logged(line, label, at);
  }
  const json* doc = first_of(line, {"doc"});
  const json& fields = doc != nullptr && doc->is_object() ? *doc : line;
  ChoiceTask task;
  SPARING_TRY(task.context, read_context(fields, at));
  SPARING_TRY(const Choices choices, read_choices(fields, at));
  SPARING_TRY(task.answer, read_answer(fields, label, choices, at));
  for (const std::string& choice : choices.texts) {
    task.choices.push_back(choice.starts_with(' ') ? choice : " " + choice);
  }
  return task;
}

std::string_view next_line(std::string_view& text) {
  const auto end = std::min(text.find('\n'), text.size());
  std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

std::size_t common_prefix(std::span<const Token> a, std::span<const Token> b) {
  return static_cast<std::size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

std::int64_t characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

/// Scores continuations one after another; what they share with the one before stays in the KV cache.
class Scorer {
 public:
  Scorer(Engine& engine, const Tokenizer& tokenizer) : engine_(engine), tokenizer_(tokenizer) {
    engine_.truncate(0, 0);
  }
  Result<double> log_p(const std::string& context, const std::string& continuation) {
    std::vector<Token> all = tokenizer_.encode(context + continuation, true, false);
    std::size_t start = std::min(tokenizer_.encode(context, true, false).size(), all.size() - 1);
    start = std::max<std::size_t>(start, 1);
    const auto room = static_cast<std::size_t>(engine_.context());
    if (all.size() > room) {
      const std::size_t cut = all.size() - room;
      all.erase(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(cut));
      start = start > cut + 1 ? start - cut : 1;
    }
    engine_.truncate(0, static_cast<std::int64_t>(std::min(common_prefix(all, cached_), start - 1)));
    const auto held = static_cast<std::size_t>(engine_.length(0));
    // The last token is judged and not read.
    const std::span<const Token> read(all.data() + held, all.size() - 1 - held);
    const auto vocab = static_cast<std::size_t>(engine_.config().vocab);
    const std::size_t judged = all.size() - start;
    logits_.resize(judged * vocab);
    SPARING_CHECK_OK(engine_.forward(0, read, logits_));
    cached_.assign(all.begin(), all.end() - 1);
    nll_.assign(judged, 0.0);
    engine_.pool().parallel_for(static_cast<std::int64_t>(judged), 1, [&](std::int64_t from, std::int64_t to, int) {
      for (std::int64_t i = from; i < to; ++i) {
        const auto at = static_cast<std::size_t>(i);
        nll_[at] = score_token(std::span(logits_).subspan(at * vocab, vocab), all[start + at]).nll;
      }
    });
    double sum = 0;
    for (const double nll : nll_) sum -= nll;
    return sum;
  }

 private:
  Engine& engine_;
  const Tokenizer& tokenizer_;
  std::vector<Token> cached_;
  std::vector<float> logits_;
  std::vector<double> nll_;
};

std::int32_t largest(std::span<const double> values) {
  return static_cast<std::int32_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

}  // namespace

Result<std::vector<ChoiceTask>> read_choice_tasks(std::string_view lines, std::string_view labels,
                                                  const std::string& where, std::int64_t most) {
  std::vector<ChoiceTask> tasks;
  const bool has_labels = !labels.empty();
  for (std::int64_t number = 1; !lines.empty(); ++number) {
    const std::string_view text = next_line(lines);
    const std::string_view label = next_line(labels);
    if (text.find_first_not_of(" \t") == std::string_view::npos) continue;
    const std::string at = where + " line " + std::to_string(number);
    if (text.size() > kLongestLine) return missing(at, "longer than 1 MiB");
    SPARING_TRY(const json line, parse_json(text, at));
    if (!line.is_object()) return missing(at, "not a JSON object");
    if (has_labels && label.empty()) return missing(at, "has no label: the labels file ends before it");
    SPARING_TRY(ChoiceTask task, read_task(line, label, at));
    tasks.push_back(std::move(task));
    if (most > 0 && static_cast<std::int64_t>(tasks.size()) == most) break;
  }
  if (tasks.empty()) return input_error(where + ": no tasks in it: one JSON object a line is needed");
  return tasks;
}

Result<std::vector<ChoiceScore>> score_choices(Engine& engine, const Tokenizer& tokenizer,
                                               std::span<const ChoiceTask> tasks,
                                               const std::function<void()>& on_task) {
  std::vector<ChoiceScore> scores;
  Scorer scorer(engine, tokenizer);
  for (const ChoiceTask& task : tasks) {
    if (interrupted()) return interrupted_error("eval");
    ChoiceScore score;
    std::vector<double> norm;
    for (const std::string& choice : task.choices) {
      SPARING_TRY(const double log_p, scorer.log_p(task.context, choice));
      if (!std::isfinite(log_p)) {
        return input_error("[eval] the model's logits are not finite in task " + std::to_string(scores.size() + 1) +
                           ": its weights are broken ('sparing verify' finds where)");
      }
      score.log_p.push_back(log_p);
      norm.push_back(log_p / static_cast<double>(std::max<std::int64_t>(characters(choice) - 1, 1)));
    }
    score.picked = largest(score.log_p);
    score.picked_norm = largest(norm);
    double sum = 0;
    const double top = score.log_p[static_cast<std::size_t>(score.picked)];
    for (const double log_p : score.log_p) sum += std::exp(log_p - top);
    score.p_answer = std::exp(score.log_p[static_cast<std::size_t>(task.answer)] - top) / sum;
    scores.push_back(std::move(score));
    if (on_task) on_task();
  }
  return scores;
}

Share share_of(std::int64_t count, std::int64_t of) {
  if (of <= 0) return {};
  constexpr double z = 1.959963984540054;
  const double n = static_cast<double>(of), p = static_cast<double>(count) / n;
  const double middle = (p + z * z / (2 * n)) / (1 + z * z / n);
  const double half = z / (1 + z * z / n) * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  return {p, std::max(0.0, middle - half), std::min(1.0, middle + half)};
}

double mcnemar(std::int64_t lost, std::int64_t won) {
  const std::int64_t n = lost + won, least = std::min(lost, won);
  double tail = 0;
  for (std::int64_t k = 0; k <= least; ++k) {
    tail += std::exp(std::lgamma(static_cast<double>(n) + 1) - std::lgamma(static_cast<double>(k) + 1) -
                     std::lgamma(static_cast<double>(n - k) + 1) - static_cast<double>(n) * std::log(2.0));
  }
  return std::min(1.0, 2 * tail);
}

ChoiceSummary summarise(std::span<const ChoiceTask> tasks, std::span<const ChoiceScore> scores) {
  ChoiceSummary summary;
  summary.tasks = static_cast<std::int64_t>(tasks.size());
  std::int64_t right = 0, right_norm = 0;
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    right += scores[i].picked == tasks[i].answer;
    right_norm += scores[i].picked_norm == tasks[i].answer;
    summary.likelihood += scores[i].p_answer / static_cast<double>(tasks.size());
  }
  summary.accuracy = share_of(right, summary.tasks);
  summary.accuracy_norm = share_of(right_norm, summary.tasks);
  return summary;
}

ChoiceComparison compare(std::span<const ChoiceTask> tasks, std::span<const ChoiceScore> reference,
                         std::span<const ChoiceScore> candidate) {
  ChoiceComparison c;
  std::int64_t right_before = 0;
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    const bool before = reference[i].picked == tasks[i].answer, now = candidate[i].picked == tasks[i].answer;
    right_before += before;
    c.lost += before && !now;
    c.won += !before && now;
    c.changed += reference[i].picked != candidate[i].picked;
    if (before != now) c.flipped.push_back(static_cast<std::int64_t>(i));
  }
  const auto n = static_cast<std::int64_t>(tasks.size());
  c.flips = share_of(c.lost + c.won, n);
  c.retained = share_of(right_before - c.lost, right_before);
  c.p_value = mcnemar(c.lost, c.won);
  return c;
}

}  // namespace sparing
