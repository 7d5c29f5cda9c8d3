#pragma once
// What every option at every site is expected to cost: one pass of the original model over the calibration text.

#include <string>
#include <vector>

#include "plan/calibration.h"
#include "plan/estimate.h"
#include "plan/execute.h"

namespace sparing {

/// Of calibration text: what sensitivities are measured on, what the original is surveyed on.
inline constexpr std::int64_t kSensitivityTokens = 4096, kSurveyTokens = 8192;

/// A site with what may be done there and the damage that is expected of each.
struct SurveyedSite {
  SiteInfo site;
  std::vector<SiteOption> options;
  std::vector<double> damage;  ///< KL a token, of the option alone
};

/// What all looks at the original model share.
struct SurveyContext {
  const Checkpoint& checkpoint;
  const std::vector<std::vector<Token>>& sequences;  ///< that statistics are gathered on
  const Sensitivity& sensitivity;
  std::vector<float> frequencies;  ///< [vocab] of tokens in the sequences
  std::uint64_t seed = 0;
  Journal& journal;
  const ExecuteOptions& options;

  /// A site's evidence; `weight` and `statistics` must outlive it.
  SiteEvidence evidence(const SiteInfo& site, std::span<const float> weight, const Statistics* statistics) const;
};

/// Sequences spread evenly over all, of about so many tokens together; at least one.
std::vector<std::vector<Token>> some_of(const std::vector<std::vector<Token>>& sequences, std::int64_t tokens);

/// Measured, or from the journal's note `key` if an earlier run did.
Result<Sensitivity> noted_sensitivity(const Checkpoint& checkpoint, const std::vector<std::vector<Token>>& sequences,
                                      std::uint64_t seed, const std::string& key, Journal& journal,
                                      const ExecuteOptions& options);

/// Leaves out options that are not worth their bytes at sites of that shape (plan/estimate.h).
Status drop_worthless(const Checkpoint& checkpoint, std::vector<SurveyedSite>& sites, std::uint64_t seed, int threads);

/// `sites` come with their options and without damages, which are noted in the journal under `key`, block by block.
Status survey(const SurveyContext& context, const std::string& key, std::vector<SurveyedSite>& sites);

/// Limits for a pass that only looks: max_ram less what is resident and what the largest block takes.
CalibrationOptions calibration_options(const ExecuteOptions& options, const Checkpoint& checkpoint);

/// How often each token occurs, as shares.
std::vector<float> token_frequencies(const std::vector<std::vector<Token>>& sequences, std::int32_t vocab);

}  // namespace sparing
