#include "methods/second_order.h"

#include <gtest/gtest.h>

#include "base/testing.h"
#include "methods/int_grid.h"
#include "methods/site.h"

namespace sparing {
namespace {

using testkit::normals;

TEST(SecondOrder, BitsDoNotDependOnHowManyRowsAreCodedAtOnce) {
  const std::int64_t rows = 37, cols = 48;
  const std::vector<float> weight = normals(rows * cols, 1), inputs = normals(96 * cols, 2);
  std::vector<float> moment(static_cast<std::size_t>(cols * cols));
  for (std::int64_t t = 0; t < 96; ++t)
    for (std::int64_t i = 0; i < cols; ++i)
      for (std::int64_t j = 0; j < cols; ++j)
        moment[static_cast<std::size_t>(i * cols + j)] +=
            inputs[static_cast<std::size_t>(t * cols + i)] * inputs[static_cast<std::size_t>(t * cols + j)];
  ThreadPool pool(2);
  const auto metric = math::make_metric(moment, cols, {}, pool);
  ASSERT_TRUE(metric.ok());
  IntGroupSpec spec;
  spec.bits = 3;
  spec.groups.group = 16;
  spec.zero = ZeroKind::f16_min;
  spec.zero_offset = 0;
  const auto places =
      std::make_shared<const math::Outliers>(math::choose_outliers(weight, rows, *metric, 16, 3, 25, pool));
  for (const bool outliers : {false, true}) {
    SecondOrderOptions options{.spec = spec};
    if (outliers) options.outliers = places;
    options.rows_at_once = rows;
    const SecondOrderCoding whole = code_second_order(weight, rows, *metric, options, pool);
    options.rows_at_once = 8;
    const SecondOrderCoding parts = code_second_order(weight, rows, *metric, options, pool);
    EXPECT_EQ(parts.decoded, whole.decoded);
    EXPECT_EQ(parts.losses, whole.losses);
    EXPECT_EQ(parts.rows_rounded, whole.rows_rounded);
    EXPECT_EQ(parts.grid.rests(), whole.grid.rests());
    EXPECT_EQ(parts.grid.decoded(), whole.grid.decoded());
    const auto packed = whole.grid.base().pack(), again = parts.grid.base().pack();
    ASSERT_TRUE(packed.ok() && again.ok());
    EXPECT_TRUE(std::ranges::equal(packed->blob.bytes, again->blob.bytes));
  }
}

TEST(SecondOrder, ErrorOfAGridIsThatOfItsValues) {
  const std::vector<float> weight = normals(5 * 40, 3);
  IntGroupSpec spec;
  spec.bits = 4;
  spec.groups.group = 16;
  spec.zero = ZeroKind::f16_min;
  spec.zero_offset = 0;
  math::IntGrid grid(spec, 5, 40, math::Clip::mse);
  ThreadPool pool(1);
  math::round_to_nearest(grid, weight, {}, pool);
  EXPECT_GT(relative_error(weight, grid), 0);
  EXPECT_EQ(relative_error(weight, grid), relative_error(weight, decoded_values(grid)));
}

}  // namespace
}  // namespace sparing
