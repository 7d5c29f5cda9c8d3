#pragma once
// The additive model of damage, checked against whole assignments and corrected: a factor for each class of sites.

#include <cstddef>
#include <string>
#include <vector>

namespace sparing {

/// One assignment that was measured whole: what its sites were expected to cost, summed by class, and what it costs.
struct JointSample {
  std::vector<double> expected;
  double measured = 0;  ///< positive
};

struct DamageFactors {
  std::vector<double> by_class;  ///< positive
  double residual = 0;  ///< relative root mean square of predicting each sample from the others: the uncertainty
};

/// "attn.q 0.9 mlp.up 1.1 residual 0.05", with six digits each.
std::string describe(const DamageFactors& factors, const std::vector<std::string>& classes);

/// Non-negative least squares on relative errors, drawn towards one common factor by as much as predicts left-out
/// samples best; without samples all factors are 1 and the residual is 1.
DamageFactors fit_factors(const std::vector<JointSample>& samples, std::size_t classes);

}  // namespace sparing
