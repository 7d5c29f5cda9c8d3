#include "plan/steer.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace sparing {
namespace {

/// Sites of two kinds; the estimates of the second are a fifth of the truth.
struct Planted {
  PriceTable table;
  std::vector<std::vector<std::size_t>> groups{2};
  std::vector<double> truth;
  int measured = 0;

  Planted() {
    Rng rng(5);
    for (std::size_t i = 0; i < 12; ++i) {
      const double damage = 0.5 + rng.uniform();
      table.push_back({{10, 0, damage}, {20, 0, damage / 4}, {30, 0, damage / 16}});
      truth.push_back(i % 2 == 0 ? 1 : 5);
      groups[i % 2].push_back(i);
    }
  }
  Steering steering(std::vector<std::vector<double>> beginnings) {
    return {table, std::move(beginnings), groups,
            [](const PriceTable& prices) -> Result<Choice> {
              auto choice = choose(prices, 240, std::nullopt, 10'000);
              if (!choice) return std::move(choice).error();
              return **choice;
            },
            [this](const Choice& choice) -> Result<double> {
              ++measured;
              return damage_of(weighted(table, truth), choice);
            }};
  }
  double best() { return damage_of(weighted(table, truth), steering({}).allocate(weighted(table, truth)).value()); }
};

TEST(Steer, FindsTheAssignmentThatEstimatesHide) {
  Planted planted;
  const auto found = steer(planted.steering({std::vector<double>(12, 1.0)}));
  ASSERT_TRUE(found.ok());
  EXPECT_LT(found->damage, found->start);
  EXPECT_LE(found->damage, 1.02 * planted.best());
  EXPECT_GT(found->weights[1], 2 * found->weights[0]);
  Steered scaled = *found;
  scaled.add_up_to(planted.table, found->damage);
  EXPECT_NEAR(damage_of(weighted(planted.table, scaled.weights), scaled.choice), found->damage, 1e-9);
}

TEST(Steer, TakesTheBestOfTheBeginningsAndNeverGetsWorse) {
  Planted planted;
  std::vector<double> wrong(12, 1.0);
  for (std::size_t i = 0; i < 12; i += 2) wrong[i] = 20;
  const auto found = steer(planted.steering({wrong, planted.truth, wrong}));
  ASSERT_TRUE(found.ok());
  EXPECT_DOUBLE_EQ(found->start, planted.best());
  EXPECT_LE(found->damage, found->start);
}

TEST(Steer, GroupsAreKindsAndThirdsOfTheDepth) {
  std::vector<SurveyedSite> sites;
  for (const char* name : {"embed", "layers.0.attn.q", "layers.0.mlp.up", "layers.1.attn.q", "layers.1.mlp.up",
                           "layers.2.attn.q", "layers.2.mlp.up"}) {
    sites.emplace_back().site.name = name;
  }
  const auto groups = steering_groups(sites, classes_of(sites));
  const std::vector<std::vector<std::size_t>> expected = {{0}, {1, 3, 5}, {2, 4, 6}, {1, 2}, {3, 4}, {5, 6}};
  EXPECT_EQ(groups, expected);
}

}  // namespace
}  // namespace sparing
