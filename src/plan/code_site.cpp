#include "base/sha256.h"
#include "plan/execute.h"

namespace sparing {
namespace {

/// The same stream for a site whatever else the plan holds.
std::uint64_t site_seed(std::uint64_t seed, const std::string& site) {
  const std::string digest = sha256_hex(std::as_bytes(std::span(site)));
  return seed ^ std::stoull(digest.substr(0, 16), nullptr, 16);
}

}  // namespace

Result<SiteResult> code_site(const BoundSite& site, const Checkpoint& checkpoint, const Statistics* statistics,
                             std::uint64_t seed, int threads) {
  const std::string& name = site.site.name;
  SPARING_TRY(CodedWeight original, checkpoint.weight(name));
  if (site.method == nullptr) {
    SPARING_CHECK_OK(validate(original, true));
    return SiteResult{std::move(original), {}};
  }
  std::vector<float> values(static_cast<std::size_t>(original.rows * original.cols));
  decode_effective_rows(original, 0, original.rows, values.data());
  checkpoint.forget(name);
  SiteProblem problem;
  problem.site = name;
  problem.rows = original.rows;
  problem.cols = original.cols;
  problem.weight = values;
  problem.statistics = statistics;
  problem.seed = site_seed(seed, name);
  problem.threads = threads;
  return site.method->apply(problem, site.params);
}

}  // namespace sparing
