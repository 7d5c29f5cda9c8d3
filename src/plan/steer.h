#pragma once
// Which way of weighing kinds of sites and depths against each other leaves the least measured damage: estimates that
// are off for some of them spend bytes at the wrong sites, however many samples corrected them.

#include <functional>
#include <vector>

#include "plan/allocate.h"
#include "plan/anchors.h"

namespace sparing {

struct Steering {
  const PriceTable& table;                       ///< as estimated
  std::vector<std::vector<double>> beginnings;   ///< weights of the sites' damages to try first; one at least
  std::vector<std::vector<std::size_t>> groups;  ///< sites whose damage may count for more or for less together
  /// The best assignment under other prices of damage; its measured damage.
  std::function<Result<Choice>(const PriceTable& table)> allocate;
  std::function<Result<double>(const Choice& choice)> damage;
};

struct Steered {
  std::vector<double> weights;  ///< of each site
  Choice choice;                ///< the best assignment by them
  double damage = 0;            ///< measured
  double start = 0;             ///< of the best beginning
  /// Multiplies the weights so that the estimates of `choice` come to `whole`.
  void add_up_to(const PriceTable& table, double whole);
};

/// `table` with each site's damages multiplied by its weight.
PriceTable weighted(const PriceTable& table, const std::vector<double>& weights);

/// Each class of sites, and each third of the blocks.
std::vector<std::vector<std::size_t>> steering_groups(const std::vector<SurveyedSite>& sites,
                                                      const SiteClasses& classes);

/// Coordinate search: each group's weight by a step up or down, kept where that measures less, twice with a smaller
/// step. Never worse than the best beginning. Errors: those of allocate() and damage().
Result<Steered> steer(const Steering& steering);

}  // namespace sparing
