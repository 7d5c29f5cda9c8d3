#include "kernels/split_product.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "base/testing.h"
#include "kernels/isa.h"

namespace sparing::kernels {
namespace {

using testkit::normals;

struct Shape {
  std::int64_t tokens, cols, outputs, x_gap, y_gap;
};
// Whole tiles and edges of both factors, one step and several at once, more tokens than go at once.
const Shape kShapes[] = {{32, 32, 32, 0, 0},  {1, 1, 1, 0, 0},     {33, 31, 17, 3, 5},   {64, 577, 96, 0, 1},
                         {7, 1200, 65, 1, 0}, {530, 64, 40, 0, 3}, {31, 1152, 64, 0, 0}, {96, 640, 31, 2, 2}};

TEST(SplitProducts, ComeWithinTheBitsOfTwoHalves) {
  if (!has_split_products()) GTEST_SKIP() << "no AMX-BF16 here";
  SplitRows x, w;
  for (const Shape& s : kShapes) {
    const std::int64_t x_stride = s.cols + s.x_gap, y_stride = s.outputs + s.y_gap;
    const std::vector<float> left = normals(s.tokens * x_stride, 1), right = normals(s.outputs * s.cols, 2);
    x.set_tokens(left.data(), s.tokens, s.cols, x_stride);  // longer ones before leave nothing behind
    w.set_weights(right.data(), s.outputs, s.cols);
    std::vector<float> y(static_cast<std::size_t>(s.tokens * y_stride), -7.0f);
    multiply(x, w, y.data(), y_stride);
    for (std::int64_t t = 0; t < s.tokens; ++t) {
      for (std::int64_t n = 0; n < y_stride; ++n) {
        const double got = static_cast<double>(y[static_cast<std::size_t>(t * y_stride + n)]);
        if (n >= s.outputs) {
          ASSERT_EQ(got, -7.0) << "written between rows";
          continue;
        }
        double sum = 0, size = 0;
        for (std::int64_t k = 0; k < s.cols; ++k) {
          const double product = static_cast<double>(left[static_cast<std::size_t>(t * x_stride + k)]) *
                                 static_cast<double>(right[static_cast<std::size_t>(n * s.cols + k)]);
          sum += product;
          size += product * product;
        }
        // Of each product up to 2^-15 is lost, with either sign; of the sum what f32 loses.
        ASSERT_NEAR(got, sum, 0x1p-15 * std::sqrt(size) + 1e-12) << s.tokens << " x " << s.cols << " x " << s.outputs;
      }
    }
  }
}

TEST(SplitProducts, AreExactWhereTwoHalvesHoldTheFactors) {
  if (!has_split_products()) GTEST_SKIP() << "no AMX-BF16 here";
  // 15 significant bits times 3, times a power of two.
  const float left[] = {0x1.0004p3f, -0x1.8002p-9f, 1e-30f}, right[] = {1.5f, -0.75f, 0.0f};
  SplitRows x, w;
  x.set_tokens(left, 1, 3, 3);
  w.set_weights(right, 1, 3);
  float y = 0;
  multiply(x, w, &y, 1);
  EXPECT_EQ(y, 0x1.0004p3f * 1.5f + 0x1.8002p-9f * 0.75f);
}

TEST(SplitProducts, DoNotHideWhatIsNotFinite) {
  if (!has_split_products()) GTEST_SKIP() << "no AMX-BF16 here";
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          std::numeric_limits<float>::max()}) {
    std::vector<float> left(40, 1.0f), right(40, 2.0f);
    left[35] = bad;
    SplitRows x, w;
    x.set_tokens(left.data(), 1, 40, 40);
    w.set_weights(right.data(), 1, 40);
    float y = 0;
    multiply(x, w, &y, 1);
    EXPECT_FALSE(std::isfinite(y)) << bad;
  }
}

TEST(SplitProducts, FollowTheChosenInstructionSet) {
  const Isa before = chosen_isa();
  ASSERT_TRUE(choose_isa("reference").ok());
  EXPECT_FALSE(has_split_products());
  ASSERT_TRUE(choose_isa(name_of(before)).ok());
}

}  // namespace
}  // namespace sparing::kernels
