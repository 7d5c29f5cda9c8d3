#pragma once
// What to take out of a model at the price that its bytes have: channels, heads and layers whose absence costs less KL
// than their bytes buy elsewhere.

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "plan/restructure.h"
#include "plan/survey.h"

namespace sparing {

struct StructureMarket {
  const SurveyContext& context;
  double price = 0;                            ///< KL that one more byte buys, at the best allocation without structure
  std::map<std::string, std::uint64_t> bytes;  ///< of each site in it
  /// Measured KL of the model with these weights in place of its own; `what` names the measurement.
  std::function<Result<double>(const std::string& what, const std::map<std::string, CodedWeight, std::less<>>& weights)>
      measure;
};

/// The part of `spec` that says where is filled in; nothing where nothing is worth taking out. Costs are estimated for
/// every number of channels and heads of every layer on one pass of the original, and measured for layers as wholes and
/// for the selection: the estimates are corrected by that until the selection stands.
Result<std::optional<StructureSpec>> seek_structure(const StructureMarket& market, StructureSpec spec);

}  // namespace sparing
