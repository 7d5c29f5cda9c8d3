#include "plan/joint_samples.h"

#include <cmath>
#include <numeric>

#include "base/log.h"
#include "base/progress.h"
#include "base/rng.h"

namespace sparing {
namespace {

constexpr std::size_t kSamples = 16;
constexpr double kShakeClasses = 0.7, kShakeSites = 0.3;  ///< deviations of the logarithm

}  // namespace

Result<std::vector<JointSample>> draw_joint_samples(const JointSampling& sampling) {
  const PriceTable& table = sampling.table;
  const SiteClasses& classes = sampling.classes;
  Rng rng(sampling.seed, 0x6a6f696e74);
  std::vector<JointSample> samples;
  Progress progress("checking damages add up", static_cast<std::int64_t>(kSamples), "sample");
  for (std::size_t n = 0; n < kSamples; ++n) {
    PriceTable shaken = table;
    std::vector<double> by_class(classes.names.size());
    for (double& f : by_class) f = n == 0 ? 1.0 : std::exp(kShakeClasses * rng.normal());
    for (std::size_t i = 0; i < shaken.size(); ++i) {
      const double f = by_class[classes.of[i]] * (n == 0 ? 1.0 : std::exp(kShakeSites * rng.normal()));
      for (Priced& option : shaken[i]) option.damage *= f;
    }
    SPARING_TRY(const Choice choice, sampling.allocate(shaken));
    JointSample sample;
    sample.expected.resize(classes.names.size());
    for (std::size_t i = 0; i < choice.size(); ++i) sample.expected[classes.of[i]] += table[i][choice[i]].damage;
    SPARING_TRY(sample.measured, sampling.damage(choice));
    log_debug("[fit] sample " + std::to_string(n) + ": expected " +
              std::to_string(std::accumulate(sample.expected.begin(), sample.expected.end(), 0.0)) + ", measured " +
              std::to_string(sample.measured));
    samples.push_back(std::move(sample));
    progress.advance(1);
  }
  progress.finish();
  return samples;
}

}  // namespace sparing
