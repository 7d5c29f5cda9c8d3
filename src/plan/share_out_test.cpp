#include "plan/share_out.h"

#include <gtest/gtest.h>

namespace sparing {
namespace {

TEST(ShareOut, RowsGoWhereTheyMatterMost) {
  const std::vector<std::vector<double>> salience = {{1, 5, 2}, {9, 0.5, 5, 7}, {0}};
  EXPECT_EQ(shared_counts(salience, 0), (std::vector<std::int64_t>{0, 0, 0}));
  EXPECT_EQ(shared_counts(salience, 2), (std::vector<std::int64_t>{0, 2, 0}));
  EXPECT_EQ(shared_counts(salience, 3), (std::vector<std::int64_t>{1, 2, 0})) << "of equals the first";
  EXPECT_EQ(shared_counts(salience, 4), (std::vector<std::int64_t>{1, 3, 0}));
  EXPECT_EQ(shared_counts(salience, 99), (std::vector<std::int64_t>{3, 4, 1}));
}

}  // namespace
}  // namespace sparing
