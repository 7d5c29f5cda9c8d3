#pragma once
// The proof in one folder: a self-contained HTML page, the same in Markdown, and all figures as JSON.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "eval/choice_tasks.h"
#include "eval/evaluate.h"
#include "eval/layer_figures.h"

namespace sparing {

struct JudgedModel {
  std::string name;
  std::uint64_t bytes = 0;
  std::optional<EvalReport> text;
  std::vector<LayerFigures> layers;
  std::vector<ChoiceScore> scores;  ///< of the tasks, if there are any
  double tokens_per_s = 0;          ///< 0: not measured
};

struct ReportInput {
  std::vector<JudgedModel> candidates;
  std::optional<JudgedModel> reference;
  std::string text_name, tasks_name;
  std::vector<ChoiceTask> tasks;
};

/// {"tasks": n, "accuracy": {"value", "low", "high"}, ...}, beside the reference where there is one.
nlohmann::json choices_json(const ReportInput& input, const JudgedModel& model);
/// {"candidates": [...], "reference": {...}, "tasks": ...}: every figure of the page.
nlohmann::json report_json(const ReportInput& input);
std::string report_markdown(const ReportInput& input);
/// One page: style, plots and texts inside it; nothing is loaded from elsewhere and there is no script.
std::string report_html(const ReportInput& input);

}  // namespace sparing
