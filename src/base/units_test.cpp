#include "base/units.h"

#include <gtest/gtest.h>

#include <limits>

namespace sparing {
namespace {

TEST(Units, BytesFollowTheirSuffix) {
  EXPECT_EQ(*parse_bytes("60MiB"), 60u * 1048576);
  EXPECT_EQ(*parse_bytes("90MB"), 90'000'000u);
  EXPECT_EQ(*parse_bytes("1.5GiB"), 1610612736u);
  EXPECT_EQ(*parse_bytes("4096"), 4096u);
  EXPECT_EQ(*parse_bytes("4096B"), 4096u);
  EXPECT_EQ(*parse_bytes("0"), 0u);
  EXPECT_EQ(*parse_bytes(".5KiB"), 512u);
  for (const char* bad : {"", "MiB", "-3MB", "3XB", "1e30GiB", "nan", "inf", "12 MB", "0x10", "+5", " 5", "1e999"})
    EXPECT_FALSE(parse_bytes(bad).ok()) << bad;
  EXPECT_FALSE(parse_bytes("9223372036854775808").ok());  // 2^63: the first size no file can have
}

TEST(Units, AWrongSizeIsNamedInOneLine) {
  const auto wrong = parse_bytes("3XB");
  ASSERT_FALSE(wrong.ok());
  EXPECT_EQ(wrong.error().kind, ErrorKind::usage);
  EXPECT_NE(wrong.error().message.find("'3XB'"), std::string::npos);
  EXPECT_EQ(wrong.error().message.find('\n'), std::string::npos);
}

TEST(Units, RatesAndTimes) {
  EXPECT_DOUBLE_EQ(*parse_rate("60tok/s"), 60);
  EXPECT_DOUBLE_EQ(*parse_rate("60"), 60);
  EXPECT_FALSE(parse_rate("60MB").ok());
  EXPECT_DOUBLE_EQ(*parse_seconds("20min"), 1200);
  EXPECT_DOUBLE_EQ(*parse_seconds("1.5h"), 5400);
  EXPECT_DOUBLE_EQ(*parse_seconds("90s"), 90);
  EXPECT_FALSE(parse_seconds("20parsecs").ok());
}

TEST(Units, ForPeople) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1,000");
  EXPECT_EQ(format_count(105454400), "105,454,400");
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1536), "1.50 KiB");
  EXPECT_EQ(format_bytes(90ull << 20), "90.0 MiB");
  EXPECT_EQ(format_bytes(900ull << 20), "900 MiB");
  EXPECT_EQ(format_duration(12.4), "12s");
  EXPECT_EQ(format_duration(123), "2:03");
  EXPECT_EQ(format_duration(3723), "1:02:03");
  EXPECT_EQ(format_duration(-5), "0s");
  EXPECT_EQ(format_duration(std::numeric_limits<double>::quiet_NaN()), "0s");
}

}  // namespace
}  // namespace sparing
