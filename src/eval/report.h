#pragma once
// The proof in one folder: a self-contained HTML page, the same in Markdown, and all figures as JSON.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "eval/choice_tasks.h"
#include "eval/diversity.h"
#include "eval/evaluate.h"
#include "eval/kick.h"
#include "eval/layer_figures.h"

namespace sparing {

struct JudgedModel {
  std::string name;
  std::uint64_t bytes = 0;
  std::optional<EvalReport> text;
  std::vector<LayerFigures> layers;
  std::vector<ChoiceScore> scores;  ///< of the tasks, if there are any
  double tokens_per_s = 0;          ///< 0: not measured
  ProbeScores kick = {};            ///< of the probes, if there are any
  std::optional<Diversity> diversity = {};
};

struct ReportInput {
  std::vector<JudgedModel> candidates;
  std::optional<JudgedModel> reference;
  std::string text_name, tasks_name;
  std::vector<ChoiceTask> tasks;
  std::vector<Probe> probes;
  std::string generation_name;  ///< how texts were generated: "32 tokens after 16, greedy"
};

/// Two candidates on the same windows and questions.
struct Pairing {
  std::size_t first = 0, second = 0;      ///< candidates
  std::optional<PairedTest> kld;          ///< of mean KL by window, first - second
  std::optional<ChoiceComparison> tasks;  ///< what the second loses and wins against the first
};
/// Every pair of candidates, where there is something to compare.
std::vector<Pairing> pairings(const ReportInput& input);

/// The candidate's probes beside the reference's.
std::vector<ProbeOutcome> probe_outcomes(const ReportInput& input, const JudgedModel& model);
/// What perplexity hides of the candidate's probes; empty without text or reference.
std::vector<std::string> hidden_losses(const ReportInput& input, const JudgedModel& model);

/// {"tasks": n, "accuracy": {"value", "low", "high"}, ...}, beside the reference where there is one.
nlohmann::json choices_json(const ReportInput& input, const JudgedModel& model);
/// {"probes": [{"name", "questions", "accuracy", "retained", "drop_points", ...}], "hidden_losses": [...]}
nlohmann::json kick_json(const ReportInput& input, const JudgedModel& model);
nlohmann::json diversity_json(const Diversity& diversity);
/// One line a question, with the fields that lm-evaluation-harness logs: doc_id, doc, target, resps, acc, acc_norm.
std::string questions_jsonl(const ReportInput& input, const JudgedModel& model);
/// {"candidates": [...], "reference": {...}, "tasks": ...}: every figure of the page.
nlohmann::json report_json(const ReportInput& input);
std::string report_markdown(const ReportInput& input);
/// One page: style, plots and texts inside it; nothing is loaded from elsewhere and there is no script.
std::string report_html(const ReportInput& input);

}  // namespace sparing
