#include "cli/eval_text.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "base/units.h"
#include "cli/table.h"

namespace sparing::cli {
namespace {

std::string with_error(const Estimate& estimate, int digits) {
  return fixed(estimate.value, digits) + " ± " + fixed(estimate.error, digits);
}

std::string percent(const Share& share) {
  return fixed(100 * share.value, 2) + " (" + fixed(100 * share.low, 1) + " to " + fixed(100 * share.high, 1) + ")";
}

}  // namespace

std::string report_text(const EvalReport& report, const nlohmann::json& json, bool compared) {
  Table table({"measure", ">candidate", ">reference"});
  const auto bytes = [&](const char* key) { return format_bytes(json[key].get<std::uint64_t>()); };
  const auto rate = [&](const char* key) { return json.contains(key) ? fixed(json[key].get<double>(), 1) : "-"; };
  table.row({"bytes", bytes("bytes"), compared ? bytes("bytes_ref") : ""});
  table.row({"perplexity", with_error(report.ppl, 3), compared ? with_error(report.against->ppl_ref, 3) : ""});
  if (json.contains("tokens_per_s")) {
    table.row({"decode, tokens/s", rate("tokens_per_s"), compared ? rate("tokens_per_s_ref") : ""});
    table.row({"prompt, tokens/s", rate("prompt_tokens_per_s"), compared ? rate("prompt_tokens_per_s_ref") : ""});
  }
  std::string out = table.text();
  if (!compared) return out;
  const Divergence& d = *report.against;
  Table against({"against the reference", ">value"});
  against.row({"perplexity ratio", with_error(d.ppl_ratio, 4)});
  against.row({"KL divergence, mean", with_error(d.kld_mean, 5)});
  against.row({"  median", fixed(d.kld_median, 5)});
  against.row({"  90 %", fixed(d.kld_p90, 5)});
  against.row({"  99 %", fixed(d.kld_p99, 5)});
  against.row({"  99.9 %", fixed(d.kld_p999, 5)});
  against.row({"  maximum", fixed(d.kld_max, 5)});
  against.row({"same top token",
               fixed(100 * d.top1_agreement.value, 2) + " ± " + fixed(100 * d.top1_agreement.error, 2) + " %"});
  against.row({"p(token) change, mean", fixed(100 * d.delta_p_mean.value, 3) + " %"});
  against.row({"p(token) change, RMS", fixed(100 * d.delta_p_rms, 3) + " %"});
  return out + "\n" + against.text();
}

std::string tasks_text(const ReportInput& input, const JudgedModel& candidate) {
  const ChoiceSummary mine = summarise(input.tasks, candidate.scores);
  std::optional<ChoiceSummary> theirs;
  if (input.reference) theirs = summarise(input.tasks, input.reference->scores);
  Table table({std::to_string(mine.tasks) + " questions", ">candidate", ">reference"});
  const auto row = [&](const char* name, const std::string& a, const std::string& b) {
    table.row({name, a, theirs ? b : ""});
  };
  row("accuracy, % (95 %)", percent(mine.accuracy), theirs ? percent(theirs->accuracy) : "");
  row("accuracy by length, %", percent(mine.accuracy_norm), theirs ? percent(theirs->accuracy_norm) : "");
  row("likelihood of the answer, %", fixed(100 * mine.likelihood, 2), theirs ? fixed(100 * theirs->likelihood, 2) : "");
  if (!input.reference) return table.text();
  const ChoiceComparison c = compare(input.tasks, input.reference->scores, candidate.scores);
  table.row({"flips, % (95 %)", percent(c.flips), ""});
  table.row({"  lost, won", std::to_string(c.lost) + ", " + std::to_string(c.won), ""});
  table.row({"  p (McNemar, exact)", fixed(c.p_value, 3), ""});
  table.row({"kept of the reference's right answers, %", percent(c.retained), ""});
  return table.text();
}

std::string kick_text(const ReportInput& input, const JudgedModel& candidate) {
  const bool compared = input.reference.has_value();
  Table table({"probe", ">questions", ">candidate, % (95 %)", ">reference, %", ">kept, %", ">lost, won", ">p"});
  for (const ProbeOutcome& o : probe_outcomes(input, candidate)) {
    table.row({o.name, std::to_string(o.candidate.tasks), percent(o.candidate.accuracy),
               compared ? percent(o.reference->accuracy) : "", compared ? percent(o.against->retained) : "",
               compared ? std::to_string(o.against->lost) + ", " + std::to_string(o.against->won) : "",
               compared ? fixed(o.against->p_value, 3) : ""});
  }
  std::string out = table.text();
  for (const std::string& line : hidden_losses(input, candidate)) out += "warning: " + line + "\n";
  return out;
}

std::string diversity_text(const ReportInput& input, const JudgedModel& candidate) {
  const Diversity& mine = *candidate.diversity;
  const Diversity* theirs = input.reference ? &*input.reference->diversity : nullptr;
  Table table({std::to_string(mine.texts) + " texts, " + input.generation_name, ">candidate", ">reference"});
  const auto row = [&](const char* name, double Diversity::*value) {
    table.row({name, fixed(mine.*value, 3), theirs != nullptr ? fixed(theirs->*value, 3) : ""});
  };
  row("distinct-1", &Diversity::distinct1);
  row("distinct-2", &Diversity::distinct2);
  row("distinct-3", &Diversity::distinct3);
  const auto repeated = [](const Diversity& d) {
    return fixed(100 * d.repetition4.value, 1) + " ± " + fixed(100 * d.repetition4.error, 1);
  };
  table.row({"repeated 4-grams, %", repeated(mine), theirs != nullptr ? repeated(*theirs) : ""});
  return table.text();
}

std::string pairs_text(const ReportInput& input) {
  const std::vector<Pairing> pairs = pairings(input);
  if (pairs.empty()) return {};
  Table table({"first", "second", ">KL, first - second", ">p", ">only first right", ">only second", ">p"});
  for (const Pairing& pair : pairs) {
    table.row({input.candidates[pair.first].name, input.candidates[pair.second].name,
               pair.kld ? fixed(pair.kld->difference.value, 5) + " ± " + fixed(pair.kld->difference.error, 5) : "",
               pair.kld ? fixed(pair.kld->p_value, 4) : "", pair.tasks ? std::to_string(pair.tasks->lost) : "",
               pair.tasks ? std::to_string(pair.tasks->won) : "", pair.tasks ? fixed(pair.tasks->p_value, 3) : ""});
  }
  return "paired, on the same windows and questions\n" + table.text();
}

}  // namespace sparing::cli
