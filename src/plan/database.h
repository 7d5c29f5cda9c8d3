#pragma once
// The database of coded candidates: each coding of each site made once, with statistics of the original model, kept on
// disk beside the journal, and put together at will to measure a whole plan.

#include <string>
#include <vector>

#include "plan/survey.h"

namespace sparing {

struct Candidate {
  SiteOption option;
  double damage = 0;   ///< expected KL a token of it alone, all rows counted
  CodedWeight weight;  ///< mapped from disk; keep: the source's own
};

/// Candidates by site, in the order asked for.
struct CandidateDatabase {
  std::vector<std::vector<Candidate>> sites;
  /// How fast this run was: seconds to run a token through the model and gather its moments, and to code a site, for
  /// each coding_units() of it. 0 where everything had been coded before.
  double seconds_per_token = 0, seconds_per_unit = 0;

  /// The weights of one choice of each site, for an engine. Kept sites have no entry.
  std::map<std::string, CodedWeight, std::less<>> weights(const std::vector<SurveyedSite>& sites,
                                                          const std::vector<std::size_t>& choice) const;
};

/// What a draft of a site by a second-order method, and judging it, take in proportion to: rows * cols^2.
double coding_units(const SiteInfo& site);

/// Codes, for every site, those of its options that `wanted` lists (as drafts). What an earlier run had coded of the
/// same request is taken from the journal, in which this begins a folder of its own.
Result<CandidateDatabase> code_candidates(const SurveyContext& context, const std::string& key,
                                          const std::vector<SurveyedSite>& sites,
                                          const std::vector<std::vector<std::size_t>>& wanted);

}  // namespace sparing
