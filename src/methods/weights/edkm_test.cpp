#include <gtest/gtest.h>

#include "base/thread_pool.h"
#include "methods/planted_site.h"

namespace sparing {
namespace {

using testing::code_site;
using testing::decoded;
using testing::Given;
using testing::identity;
using testing::PlantedSite;

Result<SiteResult> code(const std::vector<float>& weight, const std::vector<float>& moment, std::int64_t rows,
                        const Given& given) {
  return code_site("edkm", weight, rows, moment, given);
}

// Four levels, unevenly spaced, in every row: the table finds them up to its bytes, and each row its own scale.
TEST(Edkm, FourLevelsNeedATableOfFour) {
  const float levels[] = {-4, -1, 1, 2};
  std::vector<float> weight;
  for (const float size : {1.0f, 0.5f, 3.0f})
    for (int i = 0; i < 24; ++i) weight.push_back(size * levels[(i * 7 + i / 4) % 4]);
  const SiteResult result = code(weight, identity(24), 3, {{"bits", "2"}, {"group", "0"}, {"steps", "0"}}).value();
  EXPECT_EQ(describe(result.weight.terms[0].spec), "vq_additive 1x2b v1 g24 f16");
  const std::vector<float> values = decoded(result);
  for (std::size_t i = 0; i < weight.size(); ++i) EXPECT_NEAR(values[i], weight[i], 0.02f * 4 * (i < 48 ? 1 : 3));
  EXPECT_EQ(result.trainable, nullptr);
}

TEST(Edkm, ZerosStayZeros) {
  const std::vector<float> weight(3 * 5);
  const SiteResult zero = code(weight, identity(5), 3, {{"group", "0"}}).value();
  EXPECT_EQ(decoded(zero), weight);
  ASSERT_NE(zero.trainable, nullptr);
  ThreadPool pool(1);
  zero.trainable->step(weight, 1.0, pool);  // no gradient: nothing moves
  std::vector<float> values(weight.size(), 1.0f);
  zero.trainable->values(values, pool);
  EXPECT_EQ(values, weight);
  EXPECT_NE(zero.report.note.find("kept for gradients"), std::string::npos);
}

/// The least loss on the way, from codes that were found for `known`.
double trained(const PlantedSite& planted, const Given& given, int steps, const std::vector<float>& known) {
  return planted.trained(*code(planted.weight, known, planted.rows, given)->trainable, steps).second;
}

// From the same weighted k-means, weights that move with the table end lower than the table's levels alone.
TEST(Edkm, SoftAssignmentBeatsATrainedTable) {
  for (const std::uint64_t seed : {1, 2, 3}) {
    const PlantedSite planted(24, 96, seed);
    const Given common{{"bits", "3"}, {"group", "32"}, {"start", "nearest"}};
    Given soft = common, table = common;
    soft.emplace_back("learns", "soft");
    table.emplace_back("learns", "table");
    table.emplace_back("reach", "0.1");
    const double by_soft = trained(planted, soft, 60, planted.moment),
                 by_table = trained(planted, table, 60, planted.moment);
    EXPECT_LT(by_soft, 0.8 * by_table);
  }
}

// Second-order codes are not the nearest, so means of what they stand for are not the table that serves best.
TEST(Edkm, ASecondOrderStartStaysWhereThereIsNoGradient) {
  const PlantedSite planted(24, 96, 1);
  const SiteResult start = code(planted.weight, planted.moment, planted.rows, {{"group", "32"}}).value();
  ThreadPool pool(1);
  std::vector<float> before(planted.weight.size()), after(before);
  start.trainable->values(before, pool);
  start.trainable->step(std::vector<float>(before.size()), 1.0, pool);
  start.trainable->values(after, pool);
  for (std::size_t i = 0; i < before.size(); ++i) EXPECT_NEAR(after[i], before[i], 1e-6f);
}

// Nor do those that feedback took past the middle all change their codes once anything moves.
TEST(Edkm, AFirstStepChangesFewOfSecondOrdersCodes) {
  const PlantedSite planted(24, 96, 1);
  const SiteResult start = code(planted.weight, planted.moment, planted.rows, {{"group", "32"}}).value();
  ThreadPool pool(1);
  Rng rng(7);
  std::vector<float> before(planted.weight.size()), after(before), gradient(before);
  for (float& g : gradient) g = static_cast<float>(rng.normal());
  start.trainable->values(before, pool);
  start.trainable->step(gradient, 1.0, pool);
  start.trainable->values(after, pool);
  int changed = 0;
  for (std::size_t i = 0; i < before.size(); ++i) changed += std::abs(after[i] - before[i]) > 0.01f;  // of 0.05
  EXPECT_LT(changed, 0.02 * static_cast<double>(before.size()));
}

// A block's loss is not the one that second-order codes were found for: training goes on from there.
TEST(Edkm, TrainingLowersAnotherLossFromASecondOrderStart) {
  for (const std::uint64_t seed : {1, 2, 3}) {
    const PlantedSite planted(24, 96, seed);
    std::vector<float> known = planted.moment;
    Rng rng(seed + 100);
    const auto n = static_cast<std::size_t>(planted.cols);
    std::vector<float> sizes(n);
    for (float& s : sizes) s = std::exp(static_cast<float>(0.5 * rng.normal()));
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j) known[i * n + j] *= sizes[i] * sizes[j];
    const Given given{{"group", "32"}};
    const double before = trained(planted, given, 0, known), after = trained(planted, given, 60, known);
    EXPECT_LT(after, 0.9 * before) << before;
  }
}

TEST(Edkm, SaysWhenStatisticsAreMissing) {
  const auto result = code(std::vector<float>(64, 1.0f), {}, 2, {{"group", "16"}});
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message.find("calibrat"), std::string::npos);
  EXPECT_FALSE(code(std::vector<float>(64, 1.0f), identity(32), 2, {}).ok()) << "a group wider than the row";
}

}  // namespace
}  // namespace sparing
