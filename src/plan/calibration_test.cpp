#include "plan/calibration.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <set>

#include "base/log.h"
#include "base/testing.h"

namespace sparing {
namespace {

namespace fs = std::filesystem;

std::string data_folder() {
  const char* set = std::getenv("SPARING_DATA");
  return set != nullptr ? set : SPARING_SOURCE_DIR "/../shared/data";
}

class CalibrationTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string path = data_folder() + "/stories260K/checkpoint_v1.bin";
    if (!fs::exists(path)) GTEST_SKIP() << path << " is missing";
    set_log_level(LogLevel::error);
    auto opened = open_checkpoint(path);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    checkpoint_ = *opened;
    auto tokenizer = Tokenizer::load(checkpoint_->tokenizer());
    ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
    tokenizer_ = *tokenizer;
    std::ofstream text(folder_ / "text.txt");
    for (int i = 0; i < 2000; ++i) text << "Once upon a time there were " << i << " little birds in a tree. ";
  }
  Result<CalibrationSpec> describe(std::int64_t tokens, std::int64_t length) const {
    return describe_calibration({(folder_ / "text.txt").string()}, tokens, length, checkpoint_->config());
  }
  testkit::TemporaryFolder folder_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::shared_ptr<const Tokenizer> tokenizer_;
};

TEST_F(CalibrationTest, SequencesAreSpreadAndTheLastTenthIsHeldOut) {
  const auto spec = describe(4096, 128);
  ASSERT_TRUE(spec.ok());
  const auto text = read_calibration(*spec, *tokenizer_, 5);
  ASSERT_TRUE(text.ok()) << text.error().message;
  EXPECT_EQ(text->sequences.size(), 32u);
  for (const auto& sequence : text->sequences) EXPECT_EQ(sequence.size(), 128u);
  // Numbers rise through the text, so where a stretch was taken shows in what it says.
  const std::string first = tokenizer_->decode(text->sequences.front(), true),
                    last = tokenizer_->decode(text->sequences.back(), true),
                    held = tokenizer_->decode(text->held_out, true);
  const auto number = [](const std::string& s) { return std::stoi(s.substr(s.find("were ") + 5)); };
  EXPECT_LT(number(first), 200);
  EXPECT_GT(number(last), 1600);
  EXPECT_GT(number(held), number(last));
  EXPECT_GE(number(held), 1750);
}

TEST_F(CalibrationTest, TheSeedChoosesThePlaces) {
  const auto spec = describe(2048, 64);
  const auto a = read_calibration(*spec, *tokenizer_, 1), b = read_calibration(*spec, *tokenizer_, 1),
             c = read_calibration(*spec, *tokenizer_, 2);
  EXPECT_EQ(a->sequences, b->sequences);
  EXPECT_NE(a->sequences, c->sequences);
}

TEST_F(CalibrationTest, WhatCannotCalibrateIsRefused) {
  EXPECT_FALSE(describe(10, 128).ok()) << "less than one sequence";
  EXPECT_FALSE(describe_calibration({"self", (folder_ / "text.txt").string()}, 4096, 128, checkpoint_->config()).ok());
  auto spec = describe(4096, 128);
  std::ofstream(folder_ / "text.txt", std::ios::app) << "One more line.";
  const auto changed = read_calibration(*spec, *tokenizer_, 1);
  ASSERT_FALSE(changed.ok());
  EXPECT_NE(changed.error().message.find("SHA-256 differs"), std::string::npos);
  std::ofstream(folder_ / "text.txt") << "Short.";
  const auto short_text = read_calibration(*describe(4096, 128), *tokenizer_, 1);
  ASSERT_FALSE(short_text.ok());
  EXPECT_NE(short_text.error().message.find("less than one sequence"), std::string::npos);
}

TEST_F(CalibrationTest, AShortTextGivesWhatItHas) {
  std::ofstream text(folder_ / "text.txt");
  for (int i = 0; i < 60; ++i) text << "The cat sat on the mat. ";
  text.close();
  const auto made = read_calibration(*describe(100'000, 64), *tokenizer_, 1);
  ASSERT_TRUE(made.ok()) << made.error().message;
  EXPECT_GT(made->sequences.size(), 2u);
  EXPECT_LT(made->sequences.size(), 100u);
  EXPECT_GE(made->held_out.size(), 64u);
  // Who goes through it several times gets the same, and no warning.
  testing::internal::CaptureStderr();
  const auto again = read_calibration(*describe(100'000, 64), *tokenizer_, 1, ShortText::repeat);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->sequences, made->sequences);
}

TEST_F(CalibrationTest, TheModelWritesItsOwnTextAndTheJournalKeepsIt) {
  const auto spec = describe_calibration({"self"}, 512, 64, checkpoint_->config());
  ASSERT_TRUE(spec.ok());
  auto journal = Journal::open(folder_ / "out");
  ASSERT_TRUE(journal.ok());
  const auto first = calibration_tokens(*spec, checkpoint_, "hash", 3, 2, &*journal);
  ASSERT_TRUE(first.ok()) << first.error().message;
  EXPECT_EQ(first->sequences.size(), 8u);
  EXPECT_EQ(std::set(first->sequences.begin(), first->sequences.end()).size(), 8u) << "no two are the same";
  EXPECT_GE(first->held_out.size(), 64u);
  const auto again = calibration_tokens(*spec, checkpoint_, "hash", 3, 1, nullptr);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->sequences, first->sequences) << "the seed decides, not the threads";
  const auto noted = calibration_tokens(*spec, checkpoint_, "hash", 3, 2, &*journal);
  EXPECT_EQ(noted->sequences, first->sequences);
  EXPECT_EQ(noted->held_out, first->held_out);
  const auto other = calibration_tokens(*spec, checkpoint_, "hash", 4, 2, nullptr);
  EXPECT_NE(other->sequences, first->sequences);
}

}  // namespace
}  // namespace sparing
