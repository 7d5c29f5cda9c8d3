#pragma once
// How a claim came out on a model: judged, as JSON, and all results of a folder as one page.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "eval/statistics.h"

namespace sparing {

/// One side: a setting, its bytes, and the metric for each seed.
struct ClaimedSide {
  std::string name;                   ///< "gptq bits=3 group=64"
  std::uint64_t bytes = 0;            ///< stored weights: codes, scales, zeros, tables, indices, padding
  std::uint64_t directory_bytes = 0;  ///< the finished directory, the recipe's text included
  std::vector<double> values;         ///< by seed; the same value where a setting depends on none
};

struct ClaimResult {
  std::string id, method, claim, model, metric;
  double factor = 1;  ///< claimed: ours is at most this times the baseline
  std::vector<std::uint64_t> seeds;
  ClaimedSide ours, baseline;
  std::string text, calibration;  ///< names of the files, or "self"
  std::int64_t context = 0, windows = 0, calibration_tokens = 0;
  bool pass = false;
  std::string reason;  ///< why it passes or not, or why it could not be run
};

/// Mean, and in `error` the standard deviation over seeds (n - 1; 0 for fewer than two).
Estimate over_seeds(const std::vector<double>& values);

/// Fills in pass and reason: passes where the baseline has at least our bytes, the mean is at most the factor times the
/// baseline's, and so is every seed's.
void judge(ClaimResult& result);

/// id, claim, model, bytes, ours, baseline, baseline_name, metric, seeds, pass, reason; then the rest. `ours` and
/// `baseline` are means over the seeds, null where there are none.
nlohmann::ordered_json to_json(const ClaimResult& result);
/// Untrusted; `where` begins the messages.
Result<ClaimResult> claim_from_json(std::string_view text, const std::string& where);

/// "ID.MODEL.json".
std::string claim_file_name(const ClaimResult& result);

struct ClaimFolder {
  std::vector<ClaimResult> results;   ///< by model, then id
  std::vector<std::string> problems;  ///< of files that are no such results
};
/// Every *.json of a folder; empty where there is none.
ClaimFolder read_claims(const std::filesystem::path& folder);

/// The page of a folder's results, in Markdown.
std::string claims_page(const std::vector<ClaimResult>& results);

}  // namespace sparing
