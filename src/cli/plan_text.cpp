#include "cli/plan_text.h"

#include "base/units.h"
#include "cli/table.h"

namespace sparing::cli {
namespace {

std::string settings_text(const SiteChoice& site) {
  std::string text;
  for (const auto& [name, value] : site.params) {
    const bool rate = name == "bits" || name == "group" || name == "share" || (name == "rank" && value != "0");
    const bool turned = name == "basis" && value != "none";
    if (rate || turned) text += (text.empty() ? "" : " ") + name + "=" + value;
  }
  return text;
}

std::string percent(double share) {
  return fixed(100 * share, 0) + " %";
}

}  // namespace

std::string forecast_text(const Plan& plan) {
  const Forecast& f = plan.forecast;
  if (f.values.empty()) return "";
  Table table({"expected", ">value", ">uncertainty", "known by"});
  table.row({"finished directory, bytes", format_count(plan.totals.at(std::string(kWeights))), "none", "counted"});
  if (f.has(kResident)) {
    table.row({"memory when it runs", format_bytes(static_cast<std::uint64_t>(f.at(kResident))), "at most",
               "file, KV and 48 MiB"});
  }
  if (f.has(kTokensPerSecond)) {
    table.row({"decoding, tok/s", significant(f.at(kTokensPerSecond)), "10 %", "measured on drafts"});
  }
  if (f.has(kDamage)) {
    table.row({"damage (KL), sum over sites", significant(f.at(kDamage)), percent(f.at(kDamageError)),
               "modelled, corrected by joint samples"});
  }
  if (f.has(kDraftDamage)) {
    table.row({"damage (KL) of drafts", significant(f.at(kDraftDamage)), "", "measured on held-out text"});
  }
  if (f.has(kFinishedDamage)) {
    table.row({"damage (KL) when finished", significant(f.at(kFinishedDamage)), "25 %",
               plan.heal ? "before healing, which lowers it" : "drafts, less what the final coding makes up for"});
  }
  if (f.has(kPrice)) {
    table.row({"KL that one more MiB buys", significant(f.at(kPrice)), percent(f.at(kDamageError)), "modelled"});
  }
  if (f.has(kCodingSeconds)) {
    table.row({"coding", format_duration(f.at(kCodingSeconds)), "30 %", "modelled from drafts"});
  }
  if (f.has(kHealSeconds)) {
    table.row({"healing", format_duration(f.at(kHealSeconds)), "30 %", "measured on a step"});
  }
  if (f.has(kPeakBytes)) {
    table.row(
        {"peak memory of coding", format_bytes(static_cast<std::uint64_t>(f.at(kPeakBytes))), "30 %", "modelled"});
  }
  return "\n" + table.text();
}

std::string outcome_text(const Plan& plan, const ExecuteSummary& summary) {
  const Forecast& f = plan.forecast;
  if (!summary.finished) return "";
  const FinishedMeasures& now = *summary.finished;
  Table table({"", ">expected", ">finished"});
  table.row({"bytes", format_count(plan.totals.at(std::string(kWeights))), format_count(summary.bytes)});
  table.row({"decoding, tok/s", f.has(kTokensPerSecond) ? significant(f.at(kTokensPerSecond)) : "",
             significant(now.tokens_per_second)});
  if (now.damage) {
    const bool healed = summary.heal.has_value();
    table.row({"KL on held-out text" + std::string(healed ? ", healed" : ""),
               f.has(kFinishedDamage) ? significant(f.at(kFinishedDamage)) + (healed ? " before" : "") : "",
               significant(*now.damage)});
  }
  if (f.has(kCodingSeconds) && summary.resumed == 0) {
    table.row({"coding", format_duration(f.at(kCodingSeconds)), format_duration(summary.coding_seconds)});
  }
  if (f.has(kHealSeconds) && summary.heal) {
    table.row({"healing", format_duration(f.at(kHealSeconds)), format_duration(summary.heal_seconds)});
  }
  return "\n" + table.text();
}

std::string plan_table(const Plan& plan, const std::vector<BoundSite>& sites, std::uint64_t source) {
  Table table({"site", ">rows", ">cols", "method", "setting", ">bytes"});
  for (std::size_t i = 0; i < sites.size(); ++i) {
    const SiteChoice& choice = plan.sites[i];
    table.row({choice.site, std::to_string(sites[i].site.rows), std::to_string(sites[i].site.cols), choice.method,
               settings_text(choice), format_count(choice.costs.at(std::string(kWeights)))});
  }
  const std::uint64_t total = plan.totals.at(std::string(kWeights)), of_sites = site_cost(plan, kWeights);
  table.rule();
  table.row({"sites", "", "", "", "", format_count(of_sites)});
  table.row({"norms, tokenizer, metadata", "", "", "", "", format_count(total - of_sites)});
  table.row({"finished directory", "", "", "", "", format_count(total)});
  for (const auto& [resource, limit] : plan.budgets) table.row({"budget", "", "", "", resource, format_count(limit)});
  table.row({"source", "", "", "", "", format_count(source)});
  std::string text = table.text();
  if (plan.calibration.tokens > 0) {
    text += "\nCalibration: " + format_count(static_cast<std::uint64_t>(plan.calibration.tokens)) + " tokens of ";
    if (plan.calibration.self) text += "the model's own text";
    for (std::size_t i = 0; i < plan.calibration.files.size(); ++i) {
      text += (i > 0 ? ", " : "") + plan.calibration.files[i].path;
    }
    text += ", sequences of " + std::to_string(plan.calibration.length) + ", seed " + std::to_string(plan.seed) + ".\n";
  }
  if (plan.activation_bits != 0) {
    text += "\nActivations in " + std::to_string(plan.activation_bits) + " bits: the weights lose less than 8 would.\n";
  }
  if (plan.heal) {
    text += "\nHealing: " + format_count(static_cast<std::uint64_t>(plan.heal->text.tokens)) + " tokens, " +
            std::to_string(plan.heal->batch) + " sequences of " + std::to_string(plan.heal->text.length) +
            " a step, products in " + (plan.heal->bf16 ? "bf16" : "f32") + ".\n";
  }
  return text + forecast_text(plan);
}

}  // namespace sparing::cli
