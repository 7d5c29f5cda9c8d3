#include "eval/evaluate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/interrupt.h"
#include "base/system.h"

namespace sparing {
namespace {

/// A planted model: logits are a function of the token at each position.
class Planted final : public LogitsSource {
 public:
  Planted(std::int32_t vocab, float (*logit)(Token at, std::int32_t candidate)) : vocab_(vocab), logit_(logit) {}
  std::int32_t vocab() const override { return vocab_; }
  Status begin(const Windows& windows, std::int64_t index) override {
    window_ = windows.window(index);
    first_ = windows.first_scored();
    return {};
  }
  Result<std::span<const float>> scored(std::int64_t from, std::int64_t count) override {
    buffer_.clear();
    for (std::int64_t i = from; i < from + count; ++i) {
      for (std::int32_t v = 0; v < vocab_; ++v) {
        buffer_.push_back(logit_(window_[static_cast<std::size_t>(first_ + i)], v));
      }
    }
    return std::span<const float>(buffer_);
  }

 private:
  std::int32_t vocab_;
  float (*logit_)(Token, std::int32_t);
  std::vector<Token> window_;
  std::int64_t first_ = 0;
  std::vector<float> buffer_;
};

float uniform(Token, std::int32_t) {
  return 0.0f;
}
/// The next token is the same with probability 1/2, another of the three with 1/6.
float sticky(Token at, std::int32_t v) {
  return at == v ? std::log(3.0f) : 0.0f;
}

std::vector<Token> cycle(std::int64_t n, std::int32_t vocab) {
  std::vector<Token> tokens;
  for (std::int64_t i = 0; i < n; ++i) tokens.push_back(static_cast<Token>(i % vocab));
  return tokens;
}

Windows windows_of(std::int64_t n, std::int64_t context, std::int64_t most = 0, Token bos = -1) {
  auto windows = make_windows(cycle(n, 4), context, most, bos);
  EXPECT_TRUE(windows.ok());
  return std::move(windows).value();
}

TEST(Windows, SecondHalfIsScored) {
  const Windows windows = windows_of(25, 8);
  EXPECT_EQ(windows.count, 3);
  EXPECT_EQ(windows.first_scored(), 4);
  EXPECT_EQ(windows.scored(), 3);  // positions 4, 5, 6 on tokens 5, 6, 7
  EXPECT_EQ(windows.window(1), (std::vector<Token>{0, 1, 2, 3, 0, 1, 2, 3}));
  EXPECT_EQ(windows_of(25, 8, 2).count, 2);
  EXPECT_EQ(windows_of(25, 8, 2, 3).window(1)[0], 3);
  EXPECT_EQ(windows_of(27, 9).scored(), 4);
}

TEST(Windows, TooShortSaysHowMuch) {
  const auto refused = make_windows(cycle(5, 4), 512, 0, -1);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.error().kind, ErrorKind::input);
  EXPECT_NE(refused.error().message.find("has 5 tokens and one window needs 512"), std::string::npos);
  EXPECT_FALSE(make_windows({}, 512, 0, -1).ok());
  EXPECT_FALSE(make_windows(cycle(50, 4), 3, 0, -1).ok());
  EXPECT_FALSE(make_windows(cycle(50, 4), 8, -1, -1).ok());
}

TEST(Evaluate, UniformModelHasThePerplexityOfItsVocabulary) {
  Planted model(4, uniform);
  ThreadPool pool(2);
  const auto report = evaluate(model, nullptr, windows_of(64, 8), pool);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_NEAR(report->ppl.value, 4.0, 1e-9);
  EXPECT_NEAR(report->ppl.error, 0.0, 1e-9);
  EXPECT_EQ(report->scored_tokens, 24);
  EXPECT_FALSE(report->against.has_value());
}

TEST(Evaluate, ComparesWithTheReference) {
  // The text never repeats a token, so the sticky candidate gives every next token 1/6; the reference is uniform.
  Planted candidate(4, sticky), reference(4, uniform);
  ThreadPool pool(2);
  int calls = 0;
  EvalOptions options;
  options.on_window = [&](const EvalReport& so_far) { EXPECT_EQ(so_far.windows, ++calls); };
  const auto report = evaluate(candidate, &reference, windows_of(64, 8), pool, options);
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_EQ(calls, 8);
  EXPECT_NEAR(report->ppl.value, 6.0, 1e-6);
  ASSERT_TRUE(report->against.has_value());
  const Divergence& d = *report->against;
  EXPECT_NEAR(d.ppl_ref.value, 4.0, 1e-9);
  EXPECT_NEAR(d.ppl_ratio.value, 1.5, 1e-6);
  // KL(uniform || sticky) = 1/4 ln((1/4)/(1/2)) + 3/4 ln((1/4)/(1/6)).
  const double kl = 0.25 * std::log(0.5) + 0.75 * std::log(1.5);
  for (const double value : {d.kld_mean.value, d.kld_median, d.kld_p99, d.kld_max}) EXPECT_NEAR(value, kl, 1e-7);
  EXPECT_NEAR(d.delta_p_mean.value, 1.0 / 6 - 0.25, 1e-7);
  EXPECT_NEAR(d.delta_p_rms, 0.25 - 1.0 / 6, 1e-7);
  // Ties of the uniform reference go to token 0, so the two agree where the position's token is 0: positions 4, 5, 6 of
  // each window are tokens 0, 1, 2.
  EXPECT_NEAR(d.top1_agreement.value, 1.0 / 3, 1e-12);
  const nlohmann::json json = to_json(*report);
  for (const char* key : {"ppl", "ppl_ref", "kld_mean", "kld_median", "kld_p99", "kld_max", "top1_agreement"}) {
    EXPECT_TRUE(json.contains(key)) << key;
  }
}

TEST(Evaluate, RecordedReferenceGivesTheSameBits) {
  Planted candidate(4, sticky), reference(4, uniform);
  ThreadPool one(1), three(3);
  const Windows windows = windows_of(64, 8);
  const auto direct = evaluate(candidate, &reference, windows, one);
  for (const std::filesystem::path& folder : {std::filesystem::path(), std::filesystem::temp_directory_path()}) {
    auto recording = ReferenceLogits::record(reference, windows, folder);
    ASSERT_TRUE(recording.ok()) << recording.error().message;
    const auto replayed = evaluate(candidate, recording->get(), windows, three);
    ASSERT_TRUE(replayed.ok());
    EXPECT_EQ(replayed->ppl.value, direct->ppl.value);
    EXPECT_EQ(replayed->against->kld_mean.value, direct->against->kld_mean.value);
    EXPECT_EQ(replayed->against->kld_max, direct->against->kld_max);
    EXPECT_FALSE(evaluate(candidate, recording->get(), windows_of(64, 16), one).ok());
  }
  EXPECT_FALSE(ReferenceLogits::record(reference, windows, "/nonexistent/folder").ok());
  Windows endless = windows;
  endless.count = std::int64_t{1} << 44;
  const auto full = ReferenceLogits::record(reference, endless, std::filesystem::temp_directory_path());
  ASSERT_FALSE(full.ok());
  EXPECT_NE(full.error().message.find("are free"), std::string::npos) << full.error().message;
}

TEST(Evaluate, RecordedReferenceIsResidentNoMoreThanItIsRead) {
  Planted reference(1 << 16, uniform);
  const Windows windows = windows_of(512, 16);
  ASSERT_EQ(ReferenceLogits::bytes(windows, reference.vocab()), 56u << 20);
  const std::uint64_t before = resident_bytes();
  const auto recording = ReferenceLogits::record(reference, windows, std::filesystem::temp_directory_path());
  ASSERT_TRUE(recording.ok()) << recording.error().message;
  EXPECT_LT(resident_bytes(), before + (12 << 20));
  for (std::int64_t w = 0; w < windows.count; ++w) {
    ASSERT_TRUE((*recording)->begin(windows, w).ok());
    EXPECT_EQ((*recording)->scored(0, windows.scored())->back(), 0.0f);
  }
  EXPECT_LT(resident_bytes(), before + (12 << 20));
}

TEST(Evaluate, RefusesWhatCannotBeCompared) {
  Planted model(4, uniform), other(5, uniform), small(3, uniform);
  Planted broken(4, [](Token, std::int32_t v) { return v == 2 ? std::numeric_limits<float>::quiet_NaN() : 0.0f; });
  ThreadPool pool(1);
  const Windows windows = windows_of(64, 8);
  EXPECT_FALSE(evaluate(model, &other, windows, pool).ok());
  const auto outside = evaluate(small, nullptr, windows, pool);
  ASSERT_FALSE(outside.ok());
  EXPECT_NE(outside.error().message.find("token 3 is outside"), std::string::npos);
  const auto nan = evaluate(broken, nullptr, windows, pool);
  ASSERT_FALSE(nan.ok());
  EXPECT_NE(nan.error().message.find("candidate's logits are not finite"), std::string::npos);
  const auto nan_reference = evaluate(model, &broken, windows, pool);
  ASSERT_FALSE(nan_reference.ok());
  EXPECT_NE(nan_reference.error().message.find("reference's logits"), std::string::npos);
}

TEST(Evaluate, StopsWhenAsked) {
  Planted model(4, uniform);
  ThreadPool pool(1);
  request_interrupt();
  const auto stopped = evaluate(model, nullptr, windows_of(64, 8), pool);
  clear_interrupt();
  ASSERT_FALSE(stopped.ok());
  EXPECT_EQ(stopped.error().kind, ErrorKind::interrupted);
}

TEST(Statistics, MeanErrorAndQuantiles) {
  const std::vector<double> values = {1, 2, 3, 4};
  const Estimate mean = mean_of(values);
  EXPECT_DOUBLE_EQ(mean.value, 2.5);
  EXPECT_DOUBLE_EQ(mean.error, std::sqrt(1.25 / 3));
  EXPECT_DOUBLE_EQ(quantile(values, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(quantile(values, 0), 1);
  EXPECT_DOUBLE_EQ(quantile(values, 1), 4);
  EXPECT_DOUBLE_EQ(quantile(values, 0.9), 3.7);
  EXPECT_EQ(mean_of({}).value, 0);
  EXPECT_EQ(mean_of(std::vector<double>{7}).error, 0);
}

}  // namespace
}  // namespace sparing
