#include "eval/speed.h"

#include <gtest/gtest.h>

#include "eval/engine_logits.h"
#include "eval/evaluate.h"
#include "eval/peak_ops.h"
#include "eval/roofline.h"
#include "runtime/test_model.h"

namespace sparing {
namespace {

TEST(Roofline, LimitsAreThoseOfAComputer) {
  ThreadPool pool(1);
  const Roofline roofline = measure_roofline(pool, 1 << 24);
  // Wide enough for an emulator and for machines to come.
  EXPECT_GT(roofline.read_bandwidth, 1e7);
  EXPECT_LT(roofline.read_bandwidth, 1e13);
  EXPECT_GT(roofline.int8_ops, 1e7);
  EXPECT_LT(roofline.int8_ops, 1e15);
  EXPECT_GT(roofline.f32_ops, 1e7);
  EXPECT_FALSE(roofline.int8_unit.empty());
}

TEST(Speed, ArbitraryTokensAreInRangeAndRepeatable) {
  const auto tokens = arbitrary_tokens(1000, 17, 3);
  for (const Token token : tokens) {
    EXPECT_GE(token, 0);
    EXPECT_LT(token, 17);
  }
  EXPECT_EQ(tokens, arbitrary_tokens(1000, 17, 3));
  EXPECT_NE(tokens, arbitrary_tokens(1000, 17, 4));
}

std::unique_ptr<Engine> tiny_engine(testing::Coding coding, std::int32_t sequences = 1) {
  EngineOptions options;
  options.threads = 2;
  options.context = 64;
  options.sequences = sequences;
  auto engine = Engine::load(std::make_shared<testing::FormulaCheckpoint>(testing::tiny_config(), coding), options);
  EXPECT_TRUE(engine.ok()) << engine.error().message;
  return std::move(engine).value();
}

TEST(Speed, CountsWhatItDid) {
  const auto engine = tiny_engine(testing::Coding::int4, 3);
  const auto speed = measure_speed(*engine, arbitrary_tokens(10, 97), 5, 3);
  ASSERT_TRUE(speed.ok()) << speed.error().message;
  EXPECT_EQ(speed->prompt_tokens, 10);
  EXPECT_EQ(speed->decode_tokens, 15);
  EXPECT_GT(speed->prompt_rate(), 0);
  EXPECT_GT(speed->decode_rate(), 0);
  EXPECT_EQ(engine->length(0), 0);
  EXPECT_FALSE(measure_speed(*engine, arbitrary_tokens(60, 97), 5, 3).ok()) << "beyond the context";
}

TEST(EngineLogits, OnlyScoredPositionsAndTheSameHoweverCut) {
  const auto reference = tiny_engine(testing::Coding::f32), candidate = tiny_engine(testing::Coding::int4);
  const auto windows = make_windows(arbitrary_tokens(70, 97), 32, 0, -1);
  ASSERT_TRUE(windows.ok());
  EngineLogits logits(*reference);
  ASSERT_TRUE(logits.begin(*windows, 1).ok());
  const auto whole = logits.scored(0, windows->scored());
  ASSERT_TRUE(whole.ok());
  const std::vector<float> expected(whole->begin(), whole->end());
  EXPECT_EQ(reference->length(0), 31);
  ASSERT_TRUE(logits.begin(*windows, 1).ok());
  std::vector<float> parts;
  for (const std::int64_t from : {0, 4, 8, 12}) {
    const auto part = logits.scored(from, std::min<std::int64_t>(4, windows->scored() - from));
    ASSERT_TRUE(part.ok());
    parts.insert(parts.end(), part->begin(), part->end());
  }
  EXPECT_EQ(parts, expected);

  EngineLogits coded(*candidate);
  const auto report = evaluate(coded, &logits, *windows, candidate->pool());
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_GT(report->against->kld_mean.value, 0);
  const auto same = evaluate(logits, &logits, *windows, candidate->pool());
  EXPECT_FALSE(same.ok()) << "one engine cannot be on both sides: it has one cache";
}

}  // namespace
}  // namespace sparing
