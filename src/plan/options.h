#pragma once
// What may be done at a site: every method at every setting that is worth its bytes, within what the user allows.

#include <map>
#include <string>
#include <vector>

#include "plan/compose.h"

namespace sparing {

/// One way to store a site.
struct SiteOption {
  Setting setting;          ///< method and complete parameters, or keep with none
  std::uint64_t bytes = 0;  ///< stored: terms and transform, each padded as in the file
};

/// Values that a solver may choose among, by parameter ("method" is one too); a parameter without an entry is free
/// where it is an axis (bits, group, symmetric, zero, scale), otherwise at its default.
struct OptionLimits {
  std::map<std::string, std::vector<std::string>> allowed;
  std::vector<std::string> excluded_methods;
};

/// What a user pins or excludes, as limits: the values of `--site` (below), where a name is given twice the last.
///   bits=4   bits=3..6   group=32|64   method=gptq|rtn   method=!rtn
/// Errors: an empty range, a range of what is not a whole number.
Status narrow(OptionLimits& limits, const ParamList& settings);

/// All options of a site, cheapest first; of several that are stored alike, the first method's. Methods: those allowed,
/// or gptq (rtn where an untied embedding has nothing to calibrate on, both at a tied one). "keep" is offered where the
/// source is stored in `kept_bytes` > 0, unless methods are named. Errors: an unknown method or parameter value; limits
/// that leave nothing (the message names the site).
Result<std::vector<SiteOption>> site_options(const SiteInfo& site, const OptionLimits& limits,
                                             std::uint64_t kept_bytes);

}  // namespace sparing
