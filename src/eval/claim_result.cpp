#include "eval/claim_result.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <tuple>

#include "base/atomic_file.h"
#include "formats/json.h"

namespace sparing {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::uint64_t kLongestFile = 1 << 20;

std::string short_number(double value) {
  char text[64];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

/// 0.082 ± 0.003
std::string with_spread(const Estimate& e) {
  char text[64];
  std::snprintf(text, sizeof text, "%.4f ± %.4f", e.value, e.error);
  return text;
}

Json side_json(const ClaimedSide& side) {
  return {{"setting", side.name},
          {"bytes", side.bytes},
          {"directory_bytes", side.directory_bytes},
          {"spread", over_seeds(side.values).error},
          {"by_seed", side.values}};
}

Json mean_or_null(const ClaimedSide& side) {
  return side.values.empty() ? Json(nullptr) : Json(over_seeds(side.values).value);
}

Result<ClaimedSide> side_from(const nlohmann::json& json, const std::string& where) {
  const JsonFields fields(json, where);
  ClaimedSide side;
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  SPARING_TRY(side.name, fields.string("setting"));
  SPARING_TRY(const std::int64_t bytes, fields.integer("bytes", {}, 0, most));
  SPARING_TRY(const std::int64_t directory, fields.integer("directory_bytes", {}, 0, most));
  side.bytes = static_cast<std::uint64_t>(bytes);
  side.directory_bytes = static_cast<std::uint64_t>(directory);
  for (const auto& value : fields.at("by_seed")) {
    if (!value.is_number()) return fields.wrong("by_seed", "numbers");
    side.values.push_back(value.get<double>());
  }
  return side;
}

/// Table cells hold no bars.
std::string cell(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == '|' || c == '\n'; }, ' ');
  return text;
}

std::string count(std::uint64_t n) {
  std::string digits = std::to_string(n);
  for (std::size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
  return digits;
}

auto order(const ClaimResult& r) {
  return std::tie(r.model, r.id);
}

}  // namespace

Estimate over_seeds(const std::vector<double>& values) {
  Estimate e = mean_of(values);
  e.error *= std::sqrt(static_cast<double>(values.size()));
  return e;
}

void judge(ClaimResult& r) {
  r.pass = false;
  if (r.ours.values.size() != r.seeds.size() || r.baseline.values.size() != r.seeds.size() || r.seeds.empty()) {
    r.reason = "not measured";
    return;
  }
  if (r.baseline.bytes < r.ours.bytes) {
    r.reason = "the baseline has fewer bytes: not comparable";
    return;
  }
  std::size_t held = 0;
  for (std::size_t i = 0; i < r.seeds.size(); ++i) held += r.ours.values[i] <= r.factor * r.baseline.values[i];
  const double ours = over_seeds(r.ours.values).value, baseline = over_seeds(r.baseline.values).value;
  const bool holds = ours <= r.factor * baseline;
  r.pass = holds && held == r.seeds.size();
  const std::string seeds = std::to_string(held) + " of " + std::to_string(r.seeds.size()) + " seeds";
  r.reason = short_number(ours / baseline) + " of the baseline's, at most " + short_number(r.factor) + " was claimed; ";
  r.reason += r.pass ? "so on every seed" : (holds ? "only on " : "on ") + seeds;
}

Json to_json(const ClaimResult& r) {
  return {{"id", r.id},
          {"claim", r.claim},
          {"model", r.model},
          {"bytes", r.ours.bytes},
          {"ours", mean_or_null(r.ours)},
          {"baseline", mean_or_null(r.baseline)},
          {"baseline_name", r.baseline.name},
          {"metric", r.metric},
          {"seeds", r.seeds},
          {"pass", r.pass},
          {"reason", r.reason},
          {"method", r.method},
          {"factor", r.factor},
          {"ours_side", side_json(r.ours)},
          {"baseline_side", side_json(r.baseline)},
          {"text", r.text},
          {"context", r.context},
          {"windows", r.windows},
          {"calibration", r.calibration},
          {"calibration_tokens", r.calibration_tokens}};
}

Result<ClaimResult> claim_from_json(std::string_view text, const std::string& where) {
  SPARING_TRY(const nlohmann::json json, parse_json(text, where));
  if (!json.is_object()) return input_error(where + ": not a claim's result");
  const JsonFields fields(json, where);
  ClaimResult r;
  SPARING_TRY(r.id, fields.string("id"));
  SPARING_TRY(r.claim, fields.string("claim"));
  SPARING_TRY(r.model, fields.string("model"));
  SPARING_TRY(r.metric, fields.string("metric"));
  SPARING_TRY(r.pass, fields.boolean("pass"));
  SPARING_TRY(r.reason, fields.string("reason"));
  SPARING_TRY(r.method, fields.string("method"));
  SPARING_TRY(r.factor, fields.real("factor"));
  SPARING_TRY(r.text, fields.string("text"));
  SPARING_TRY(r.calibration, fields.string("calibration"));
  constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
  SPARING_TRY(r.context, fields.integer("context", {}, 0, most));
  SPARING_TRY(r.windows, fields.integer("windows", {}, 0, most));
  SPARING_TRY(r.calibration_tokens, fields.integer("calibration_tokens", {}, 0, most));
  for (const auto& seed : fields.at("seeds")) {
    if (!seed.is_number_unsigned()) return fields.wrong("seeds", "whole numbers");
    r.seeds.push_back(seed.get<std::uint64_t>());
  }
  SPARING_TRY(r.ours, side_from(fields.at("ours_side"), where + " ours_side"));
  SPARING_TRY(r.baseline, side_from(fields.at("baseline_side"), where + " baseline_side"));
  return r;
}

std::string claim_file_name(const ClaimResult& r) {
  return r.id + "." + r.model + ".json";
}

ClaimFolder read_claims(const std::filesystem::path& folder) {
  namespace fs = std::filesystem;
  ClaimFolder found;
  std::error_code failed;
  for (fs::directory_iterator it(folder, failed), end; !failed && it != end; it.increment(failed)) {
    const fs::path& path = it->path();
    if (path.extension() != ".json") continue;
    const auto text = read_text_file(path, kLongestFile);
    auto result = text ? claim_from_json(*text, "[claims] " + path.string()) : Result<ClaimResult>(text.error());
    if (result) {
      found.results.push_back(std::move(result).value());
    } else {
      found.problems.push_back(result.error().message);
    }
  }
  std::ranges::sort(found.results, {}, order);
  std::ranges::sort(found.problems);
  return found;
}

std::string claims_page(const std::vector<ClaimResult>& results) {
  std::string out =
      "# Claims\n\n"
      "Written by `sparing claims`; each row is a file beside this page. A method is held against a baseline that has "
      "at "
      "least as many bytes\n"
      "(codes, scales, zeros, tables, indices and padding of every matrix). Figures are means over seeds ± their "
      "standard deviation; less is\n"
      "better. A claim holds where the mean and every seed keep to it; one that does not hold stays, with the "
      "reason.\n";
  std::string model;
  for (const ClaimResult& r : results) {
    if (r.model != model) {
      model = r.model;
      const auto passed = std::count_if(results.begin(), results.end(),
                                        [&](const ClaimResult& other) { return other.model == model && other.pass; });
      const auto all =
          std::count_if(results.begin(), results.end(), [&](const ClaimResult& other) { return other.model == model; });
      out += "\n## " + cell(model) + "\n\n" + std::to_string(passed) + " of " + std::to_string(all) +
             " hold.\n\n| claim | what | metric | ours | bytes | baseline | bytes | ours, mean | baseline, mean | "
             "holds | why |\n|---|---|---|---|---|---|---|---|---|---|---|\n";
    }
    const auto value = [](const ClaimedSide& side) {
      return side.values.empty() ? std::string("–") : with_spread(over_seeds(side.values));
    };
    out += "| " + cell(r.id) + " | " + cell(r.claim) + " | " + cell(r.metric) + " | " + cell(r.ours.name) + " | " +
           count(r.ours.bytes) + " | " + cell(r.baseline.name) + " | " + count(r.baseline.bytes) + " | " +
           value(r.ours) + " | " + value(r.baseline) + " | " + (r.pass ? "yes" : "**no**") + " | " + cell(r.reason) +
           " |\n";
    const bool last_of_model = &r == &results.back() || (&r)[1].model != model;
    if (!last_of_model) continue;
    out += "\nJudged on " + std::to_string(r.windows) + " windows of " + std::to_string(r.context) + " tokens of " +
           cell(r.text) + ", calibrated on " + count(static_cast<std::uint64_t>(r.calibration_tokens)) + " tokens of " +
           cell(r.calibration) + ", where a row's file does not say otherwise.\n";
  }
  return out;
}

}  // namespace sparing
