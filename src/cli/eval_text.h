#pragma once
// What `eval` prints for people.

#include <string>

#include <nlohmann/json_fwd.hpp>

#include "eval/report.h"

namespace sparing::cli {

/// Perplexity, bytes and speed (`json` has the latter), and divergence where the model was compared.
std::string report_text(const EvalReport& report, const nlohmann::json& json, bool compared);
std::string tasks_text(const ReportInput& input, const JudgedModel& candidate);
std::string kick_text(const ReportInput& input, const JudgedModel& candidate);
std::string diversity_text(const ReportInput& input, const JudgedModel& candidate);
/// Every two candidates beside each other; empty for one.
std::string pairs_text(const ReportInput& input);

}  // namespace sparing::cli
