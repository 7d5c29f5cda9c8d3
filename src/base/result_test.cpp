#include "base/result.h"

#include <gtest/gtest.h>

#include <memory>

namespace sparing {
namespace {

Result<std::unique_ptr<int>> make(bool good) {
  if (!good) return input_error("[make] bad: do otherwise");
  return std::make_unique<int>(7);
}

Result<int> unwrap(bool good) {
  SPARING_TRY(auto owned, make(good));
  SPARING_TRY(const auto second, make(true));
  return *owned + *second;
}

Status check(bool good) {
  SPARING_CHECK_OK(make(good));
  return {};
}

TEST(Result, CarriesMoveOnlyValues) {
  EXPECT_EQ(*unwrap(true), 14);
  EXPECT_TRUE(check(true).ok());
}

TEST(Result, ErrorsPassThroughUnchanged) {
  for (const Error& error : {unwrap(false).error(), check(false).error()}) {
    EXPECT_EQ(error.kind, ErrorKind::input);
    EXPECT_EQ(error.message, "[make] bad: do otherwise");
  }
}

TEST(Result, AResultOfErrorIsNotConfusedWithFailure) {
  const Result<std::string> text = std::string("fine");
  EXPECT_TRUE(static_cast<bool>(text));
  EXPECT_EQ(text->size(), 4u);
}

}  // namespace
}  // namespace sparing
