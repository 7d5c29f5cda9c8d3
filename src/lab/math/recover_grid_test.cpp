#include "lab/math/recover_grid.h"

#include <gtest/gtest.h>

#include "base/rng.h"
#include "tensor/half.h"

namespace sparing::math {
namespace {

float f16(float value) {
  return f16_to_f32(f32_to_f16(value));
}

std::vector<float> decoded(const RecoveredGroup& group, Precision precision) {
  std::vector<float> values;
  for (const std::int32_t step : group.steps) {
    const float product = group.scale * static_cast<float>(step);
    values.push_back(rounded_to(precision, product + group.minimum));
  }
  return values;
}

// Values on a grid that decodes as Q4_1 does, in a precision.
std::vector<float> planted(Rng& rng, Precision precision, int top, bool minimum, int count) {
  const float scale = f16(static_cast<float>(0.001 + 0.01 * rng.uniform())),
              low = minimum ? f16(static_cast<float>(-0.1 * rng.uniform())) : 0.0f;
  std::vector<float> values;
  for (int i = 0; i < count; ++i) {
    const int code = static_cast<int>(rng.below(static_cast<std::uint64_t>(top) + 1)) - (minimum ? 0 : (top + 1) / 2);
    const float product = scale * static_cast<float>(code);
    values.push_back(rounded_to(precision, product + low));
  }
  return values;
}

TEST(RecoverGrid, ByHand) {
  // .25 apart from -.5: steps 0, 1, 3, 5.
  const std::vector<float> values{-0.5f, 0.25f, -0.25f, 0.75f};
  const auto minimum = recover_group(values, Precision::f32, Anchor::minimum, 16);
  ASSERT_TRUE(minimum.has_value());
  EXPECT_EQ(minimum->scale, 0.25f);
  EXPECT_EQ(minimum->minimum, -0.5f);
  EXPECT_EQ(minimum->steps, (std::vector<std::int32_t>{0, 3, 1, 5}));
  const auto multiple = recover_group(values, Precision::f32, Anchor::multiple, 16);
  ASSERT_TRUE(multiple.has_value());
  EXPECT_EQ(multiple->scale, 0.25f);
  EXPECT_EQ(multiple->steps, (std::vector<std::int32_t>{-2, 1, -1, 3}));
  EXPECT_EQ(multiple->low, -2);
  EXPECT_EQ(multiple->high, 3);
  EXPECT_FALSE(recover_group(values, Precision::f32, Anchor::minimum, 5).has_value()) << "six points are needed";
}

TEST(RecoverGrid, FindsWhatWasPlantedInEveryPrecision) {
  Rng rng(5);
  for (const Precision precision : {Precision::f32, Precision::f16, Precision::bf16})
    for (const bool minimum : {false, true})
      for (const int top : {3, 7, 15})
        for (int trial = 0; trial < 40; ++trial) {
          const std::vector<float> values = planted(rng, precision, top, minimum, 32);
          const auto found = recover_group(values, precision, minimum ? Anchor::minimum : Anchor::multiple,
                                           minimum ? top + 1 : 2 * top);
          ASSERT_TRUE(found.has_value()) << static_cast<int>(precision) << minimum << top << " trial " << trial;
          EXPECT_EQ(decoded(*found, precision), values);
          EXPECT_LE(found->high - found->low, top);
        }
}

TEST(RecoverGrid, RefusesWhatLiesOnNone) {
  Rng rng(6);
  for (const Precision precision : {Precision::f32, Precision::f16}) {
    std::vector<float> values;
    for (int i = 0; i < 32; ++i) values.push_back(rounded_to(precision, static_cast<float>(0.02 * rng.normal())));
    for (const Anchor anchor : {Anchor::multiple, Anchor::minimum})
      EXPECT_FALSE(recover_group(values, precision, anchor, 256).has_value());
    // One value of a grid moved by a sixteenth of a step.
    values = planted(rng, precision, 15, true, 32);
    values[7] = rounded_to(precision, values[7] + 0.0001f);
    EXPECT_FALSE(recover_group(values, precision, Anchor::minimum, 16).has_value());
  }
}

TEST(RecoverGrid, TakesGroupsOfOneValue) {
  const auto same = [](float value, Anchor anchor) {
    return recover_group(std::vector<float>(5, value), Precision::f32, anchor, 16);
  };
  for (const float value : {0.0f, 0.5f, -0.5f})
    for (const Anchor anchor : {Anchor::multiple, Anchor::minimum}) {
      const auto found = same(value, anchor);
      ASSERT_TRUE(found.has_value());
      EXPECT_EQ(decoded(*found, Precision::f32), std::vector<float>(5, value));
    }
  EXPECT_FALSE(same(0.1f, Anchor::minimum).has_value()) << "no f16";
}

TEST(RecoverGrid, KnowsThePrecisionOfValues) {
  EXPECT_EQ(precision_of(std::vector<float>{0.5f, -3.0f}), Precision::f16);
  EXPECT_EQ(precision_of(std::vector<float>{0x1p-40f, 1.0f}), Precision::bf16);
  EXPECT_EQ(precision_of(std::vector<float>{0.1f, 1.0f}), Precision::f32);
}

}  // namespace
}  // namespace sparing::math
