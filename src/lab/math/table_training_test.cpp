#include "lab/math/table_training.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace sparing::math {
namespace {

// Four levels and a weight far above the uppermost, whose mean then lies far above the level. Once its weights have
// moved up, the level leaves a byte's range and the table is spread anew, under larger scales; that moves no value.
TEST(TableTraining, ATableThatIsSpreadAnewStaysWhereItIs) {
  const std::vector<float> levels = {-1, -1.0f / 3, 1.0f / 3, 1};
  VqGrid grid({.vector = 1, .books = 1, .bits = 2, .groups = {.group = 64}}, 1, 64);
  std::vector<float> weight(64), gradient(64);
  for (std::size_t k = 0; k < 4; ++k) grid.books()[k] = 120 * levels[k];
  for (std::int64_t i = 0; i < 64; ++i) {
    const std::size_t level = i < 60 ? static_cast<std::size_t>(i % 3) : 3;
    grid.codes(0, i)[0] = static_cast<std::uint8_t>(level);
    weight[static_cast<std::size_t>(i)] = i == 63 ? 4 : levels[level];
    if (level == 3) gradient[static_cast<std::size_t>(i)] = -1;
  }
  grid.scales()[0] = 1.0f / 120;
  grid.freeze();
  TableTraining training(std::move(grid), weight, std::vector<float>(64, 1.0f), {.rate = 0.1});
  ThreadPool pool(1);
  const auto values = [&] {
    std::vector<float> v(64);
    training.values(v, pool);
    return v;
  };
  const std::vector<float> still(64), start = values();
  training.step(gradient, 1, pool);
  training.step(still, 1, pool);  // the table follows what the weights did before
  const std::vector<float> spread = values();
  EXPECT_GT(spread[62], 1.1f * 127 / 120);
  training.step(still, 1, pool);
  const std::vector<float> after = values();
  for (std::size_t i = 0; i < 64; ++i) {
    EXPECT_NEAR(after[i], spread[i], 0.01f) << i;
    if (i < 60) {
      EXPECT_NEAR(after[i], start[i], 0.03f) << i;
    }
  }
}

}  // namespace
}  // namespace sparing::math
