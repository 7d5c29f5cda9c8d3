#pragma once
// Whole assignments near the best one, measured: what the additive model of damage is held against (plan/factors.h).

#include <functional>
#include <string>
#include <vector>

#include "plan/allocate.h"
#include "plan/anchors.h"
#include "plan/factors.h"

namespace sparing {

struct JointSampling {
  const PriceTable& table;
  const SiteClasses& classes;
  std::uint64_t seed = 0;
  /// The best assignment under other prices of damage; its measured damage.
  std::function<Result<Choice>(const PriceTable& table)> allocate;
  std::function<Result<double>(const Choice& choice)> damage;
};

/// The first sample is the best assignment itself, the others are the best where damages are shaken, by class and by
/// site.
Result<std::vector<JointSample>> draw_joint_samples(const JointSampling& sampling);

}  // namespace sparing
