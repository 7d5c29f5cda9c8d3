#pragma once
// Where bytes can be saved in a model, and what a plan's choices come to there.

#include <string>
#include <vector>

#include "base/result.h"
#include "formats/checkpoint.h"
#include "methods/method.h"
#include "plan/plan.h"

namespace sparing {

enum class SiteRole { linear, embedding, head };
std::string_view name_of(SiteRole role);

struct SiteInfo {
  std::string name;
  SiteRole role = SiteRole::linear;
  std::int64_t rows = 0, cols = 0;
  bool tied = false;  ///< an embedding that is the head too
};
/// Every matrix of the model, in canonical order.
std::vector<SiteInfo> weight_sites(const Checkpoint& checkpoint);

/// One site's choice, looked up and checked.
struct BoundSite {
  SiteInfo site;
  const Method* method = nullptr;  ///< null: keep
  Params params;
  bool calibrates() const;  ///< whether the method wants statistics of the site's inputs
  // What else it wants, as in Method; turns: to code in another basis of the inputs.
  bool corrects() const;
  bool guides() const;
  bool weighs_outputs() const;
  bool turns() const;
  /// How the method trains the site with its block; no steps: not at all. Only linear weights are trained.
  TrainingSchedule schedule() const;
};

/// Checks a plan against the model it is for: the model's hash (given, since it is dear to compute), every site known
/// and none left out, methods and parameters as the registry has them. Parameters are completed and brought to
/// canonical form in the plan itself. Errors name the site. Sites of one block that are trained must agree on how.
Result<std::vector<BoundSite>> bind_plan(Plan& plan, const Checkpoint& checkpoint, const std::string& model_hash);

/// What a choice is stored as: specs with blobs of the right sizes and no values (all zero bytes, never written to).
Result<CodedWeight> sized_weight(const BoundSite& site, const Checkpoint& checkpoint);

}  // namespace sparing
