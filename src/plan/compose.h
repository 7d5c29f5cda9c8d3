#pragma once
// A plan from what a user asks of `compress`: one setting for all linear weights, one for embedding and head, and
// overrides by pattern.

#include <string>
#include <string_view>
#include <vector>

#include "plan/sites.h"

namespace sparing {

/// "layers.0.*:bits=8,method=rtn": settings for the sites that a glob (*, ?, [..]) matches. `method` is a setting too.
struct SiteOverride {
  std::string pattern;
  ParamList settings;
};
Result<SiteOverride> parse_override(std::string_view text);
/// "name=value" as --param takes it.
Result<std::pair<std::string, std::string>> parse_param(std::string_view text);

/// A method with the parameters that differ from its defaults.
struct Setting {
  std::string method;
  ParamList params;
};

struct ComposeRequest {
  Setting linear, embedding;  ///< embedding: and the head
  std::vector<SiteOverride> overrides;
  std::uint64_t seed = 0;
  std::optional<StructureSpec> structure;  ///< taken out already of the checkpoint that the plan is composed for
  std::optional<HealSpec> heal;
  CalibrationSpec calibration;  ///< cleared where no method of the plan calibrates
};

/// Methods whose parameters follow from the weight (Method::detect) get them here; sites that they cannot code in at
/// most the bytes that the source takes are kept. Errors: an unknown method or parameter, an override that matches no
/// site, no site that such a method can code. Costs are not yet predicted.
Result<Plan> compose_plan(const ComposeRequest& request, const Checkpoint& checkpoint, const std::string& model_hash);

}  // namespace sparing
