#pragma once
// What a method claims to be better at than something else, as data beside the method. `sparing claims` runs it.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace sparing {

/// A setting, or several of which the runner takes the smallest that is large enough. Parameters are separated by
/// blanks: "bits=3 group=64"; alternatives by bars, integers also as a range: "group=16|32", "group=16..64:4".
struct ClaimSide {
  std::string_view method, params;
  std::string_view embed_method = "rtn", embed_params = "bits=8 group=64";  ///< of embedding and head
};

/// `ours` is at most `factor` times `baseline`, in the metric, for every seed, where the baseline has at least
/// as many stored bytes of weights (scales, zeros, tables, indices and padding counted).
struct Claim {
  std::string_view id;    ///< METHOD-WHAT, unique
  std::string_view text;  ///< one sentence
  ClaimSide ours, baseline;
  double factor = 1;
  std::string_view metric = "kld_mean";  ///< or "ppl"; less is better
  std::string_view model = {};           ///< file name without extension of the model it is about; empty: any
};

/// Every combination of a side's alternatives, in the order given; errors name the text that does not parse.
Result<std::vector<std::vector<std::pair<std::string, std::string>>>> claim_settings(std::string_view params);

}  // namespace sparing
