#include "base/sha256.h"
#include "plan/execute.h"

namespace sparing {

std::uint64_t seed_of(std::uint64_t seed, const std::string& name) {
  const std::string digest = sha256_hex(std::as_bytes(std::span(name)));
  return seed ^ std::stoull(digest.substr(0, 16), nullptr, 16);
}

Result<std::vector<float>> site_values(const Checkpoint& checkpoint, const std::string& site) {
  SPARING_TRY(const CodedWeight original, checkpoint.weight(site));
  std::vector<float> values(static_cast<std::size_t>(original.rows * original.cols));
  decode_effective_rows(original, 0, original.rows, values.data());
  checkpoint.forget(site);
  return values;
}

Result<SiteResult> code_site(const BoundSite& site, const Checkpoint& checkpoint, const Statistics* statistics,
                             std::uint64_t seed, int threads) {
  const std::string& name = site.site.name;
  if (site.method == nullptr) {
    SPARING_TRY(CodedWeight original, checkpoint.weight(name));
    SPARING_CHECK_OK(validate(original, true));
    return SiteResult{std::move(original), {}};
  }
  SPARING_TRY(const std::vector<float> values, site_values(checkpoint, name));
  SiteProblem problem;
  problem.site = name;
  problem.rows = site.site.rows;
  problem.cols = site.site.cols;
  problem.weight = values;
  problem.statistics = statistics;
  problem.seed = seed_of(seed, name);
  problem.threads = threads;
  return site.method->apply(problem, site.params);
}

}  // namespace sparing
