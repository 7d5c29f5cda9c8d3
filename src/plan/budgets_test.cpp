#include "plan/budgets.h"

#include <gtest/gtest.h>

#include "base/units.h"
#include "formats/test_models.h"

namespace sparing {
namespace {

TEST(Budgets, ReadsEveryResourceInAnyOrder) {
  const auto all = parse_fit("time=20min,ram=400MiB@2048,speed=60tok/s,weights=72MiB");
  ASSERT_TRUE(all.ok()) << all.error().message;
  EXPECT_EQ(all->weights, 72 * kMiB);
  EXPECT_EQ(all->ram, 400 * kMiB);
  EXPECT_EQ(all->context, 2048);
  EXPECT_EQ(all->speed, 60);
  EXPECT_EQ(all->time, 1200);
  EXPECT_EQ(parse_fit("ram=1GiB")->context, 0);
}

TEST(Budgets, RefusesWhatSaysNothingOrTooMuch) {
  for (const char* bad : {"", "weights", "weights=", "weights=0", "weights=1MB,weights=2MB", "colour=red", "time=20min",
                          "ram=1GiB@", "ram=1GiB@-3", "ram=1GiB@x", "speed=0", "speed=fast", "weights=1MB,,"}) {
    const auto parsed = parse_fit(bad);
    ASSERT_FALSE(parsed.ok()) << bad;
    EXPECT_EQ(parsed.error().message.find('\n'), std::string::npos) << bad;
  }
}

TEST(Budgets, MemoryLeavesWhatKeysValuesAndTheProgramDoNotTake) {
  const ModelConfig config = test::small_config("llama");
  const std::uint64_t besides = resident_besides(config, 64).value();
  EXPECT_GT(besides, 48 * kMiB);
  EXPECT_GT(resident_besides(config, 1024).value(), besides);
  FitBudgets budgets;
  budgets.context = 64;
  budgets.ram = besides + 1000;
  EXPECT_EQ(most_bytes(budgets, config).value(), 1000u);
  budgets.weights = 600;
  EXPECT_EQ(most_bytes(budgets, config).value(), 600u);
  budgets.ram = besides;
  EXPECT_FALSE(most_bytes(budgets, config).ok());
}

}  // namespace
}  // namespace sparing
