// Which options are worth a look: a weight that some rate holds exactly must not lose the rates below it.

#include "plan/estimate.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/rng.h"
#include "plan/options.h"

namespace sparing {
namespace {

const SiteInfo kSite{"layers.0.mlp.up", SiteRole::linear, 64, 128, false};

std::set<std::string> bits_kept(const std::vector<float>& weight) {
  const auto options = site_options(kSite, {}, 0).value();
  const auto kept = worthwhile(kSite, {weight}, options, 1, 1).value();
  std::set<std::string> bits;
  std::size_t count = 0;
  for (std::size_t o = 0; o < options.size(); ++o) {
    if (!kept[o]) continue;
    ++count;
    for (const auto& [name, value] : options[o].setting.params) {
      if (name == "bits") bits.insert(value);
    }
  }
  EXPECT_LT(count, options.size());
  return bits;
}

TEST(Worthwhile, RatesBelowAnExactOneStay) {
  Rng rng(3);
  std::vector<float> weight(static_cast<std::size_t>(kSite.rows * kSite.cols));
  for (std::size_t i = 0; i < weight.size(); ++i) {
    const float level = std::clamp(std::round(static_cast<float>(rng.normal()) * 40), -127.0f, 127.0f);
    weight[i] = (i % 32 == 0 ? 127.0f : level) / 256;  // so that rounding finds the grid
  }
  const auto bits = bits_kept(weight);
  for (const char* b : {"2", "3", "4", "5"}) EXPECT_TRUE(bits.contains(b)) << b;
}

TEST(Worthwhile, EveryRateOfAnyWeightIsOnTheWay) {
  Rng rng(4);
  std::vector<float> weight(static_cast<std::size_t>(kSite.rows * kSite.cols));
  for (float& w : weight) w = static_cast<float>(rng.normal());
  const auto bits = bits_kept(weight);
  for (const char* b : {"2", "3", "4", "5", "6", "7"}) EXPECT_TRUE(bits.contains(b)) << b;
}

}  // namespace
}  // namespace sparing
