#include "eval/distribution.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/rng.h"

namespace sparing {
namespace {

const float kLn2 = std::log(2.0f), kLn3 = std::log(3.0f);

/// The definitions, in long double.
struct Plain {
  long double nll_ref = 0, nll = 0, kl = 0;
};
Plain plain(const std::vector<float>& r, const std::vector<float>& c, int target) {
  const auto log_sum = [](const std::vector<float>& z) {
    long double sum = 0;
    for (const float x : z) sum += std::exp(static_cast<long double>(x));
    return std::log(sum);
  };
  const long double lr = log_sum(r), lc = log_sum(c);
  Plain p;
  p.nll_ref = lr - r[target];
  p.nll = lc - c[target];
  for (std::size_t i = 0; i < r.size(); ++i) {
    p.kl += std::exp(r[i] - lr) * ((r[i] - lr) - (c[i] - lc));
  }
  return p;
}

TEST(Distribution, HandComputed) {
  // Reference (1/2, 1/4, 1/4), candidate (1/4, 1/2, 1/4): KL = 1/2 ln 2 - 1/4 ln 2 = ln(2) / 4.
  const std::vector<float> reference = {kLn2, 0, 0}, candidate = {0, kLn2, 0};
  const TokenComparison c = compare_token(reference, candidate, 1);
  EXPECT_NEAR(c.kl, std::log(2.0) / 4, 1e-7);
  EXPECT_NEAR(c.reference.nll, std::log(4.0), 1e-7);
  EXPECT_NEAR(c.candidate.nll, std::log(2.0), 1e-7);
  EXPECT_NEAR(c.delta_p, 0.25, 1e-7);
  EXPECT_EQ(c.reference.top, 0);
  EXPECT_EQ(c.candidate.top, 1);
  // One token: probability 3/4 in three quarters of the mass.
  EXPECT_NEAR(score_token(std::vector<float>{kLn3, 0}, 0).nll, -std::log(0.75), 1e-7);
}

TEST(Distribution, TiesGoToTheLowestId) {
  std::vector<float> flat(37, 1.5f);
  EXPECT_EQ(score_token(flat, 5).top, 0);
  EXPECT_NEAR(score_token(flat, 5).nll, std::log(37.0), 1e-12);
  flat[20] = flat[30] = 2.0f;
  EXPECT_EQ(score_token(flat, 5).top, 20);
}

TEST(Distribution, SameLogitsHaveNoDivergence) {
  Rng rng(1);
  std::vector<float> z(1001);
  for (float& x : z) x = static_cast<float>(rng.normal() * 8);
  const TokenComparison c = compare_token(z, z, 17);
  EXPECT_EQ(c.kl, 0.0);
  EXPECT_EQ(c.delta_p, 0.0);
  // A constant added to every logit changes nothing.
  std::vector<float> shifted = z;
  for (float& x : shifted) x += 64.0f;
  EXPECT_LT(compare_token(z, shifted, 17).kl, 1e-9);
}

TEST(Distribution, AgreesWithTheDefinition) {
  Rng rng(2);
  for (const std::size_t vocab : {1, 2, 7, 8, 9, 63, 512, 4099}) {
    std::vector<float> r(vocab), c(vocab);
    for (std::size_t i = 0; i < vocab; ++i) {
      r[i] = static_cast<float>(rng.normal() * 6);
      c[i] = r[i] + static_cast<float>(rng.normal() * 0.3);
    }
    const int target = static_cast<int>(rng.below(vocab));
    const Plain expected = plain(r, c, target);
    const TokenComparison got = compare_token(r, c, target);
    EXPECT_NEAR(got.reference.nll, static_cast<double>(expected.nll_ref), 1e-12);
    EXPECT_NEAR(got.candidate.nll, static_cast<double>(expected.nll), 1e-12);
    EXPECT_NEAR(got.kl, static_cast<double>(expected.kl), 1e-12);
    EXPECT_EQ(score_token(c, target).nll, got.candidate.nll);
  }
}

TEST(Distribution, ExtremeLogits) {
  const float inf = std::numeric_limits<float>::infinity();
  // A masked token in both: left out.
  const TokenComparison masked = compare_token(std::vector<float>{0, -inf}, std::vector<float>{3, -inf}, 0);
  EXPECT_NEAR(masked.kl, 0, 1e-12);
  EXPECT_NEAR(masked.candidate.nll, 0, 1e-12);
  // A token that the reference thinks likely and the candidate rules out: very far apart, and finite.
  const TokenComparison ruled_out = compare_token(std::vector<float>{0, 0}, std::vector<float>{0, -3e38f}, 0);
  EXPECT_GT(ruled_out.kl, 300);
  EXPECT_TRUE(std::isfinite(ruled_out.kl));
  // Broken logits are seen, wherever they stand.
  std::vector<float> z(20, 0.0f);
  for (const std::size_t at : {0, 9, 19}) {
    std::vector<float> broken = z;
    broken[at] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_FALSE(std::isfinite(score_token(broken, 4).nll)) << at;
    broken[at] = inf;
    EXPECT_FALSE(std::isfinite(score_token(broken, 4).nll)) << at;
    EXPECT_FALSE(std::isfinite(compare_token(z, broken, 4).candidate.nll)) << at;
  }
}

}  // namespace
}  // namespace sparing
