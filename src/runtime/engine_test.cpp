#include "runtime/engine.h"

#include <gtest/gtest.h>

#include <cstring>

#include "runtime/test_model.h"

namespace sparing {
namespace {

using testing::Coding;
using testing::FormulaCheckpoint;

/// Layers of different shapes, as structural pruning leaves them; odd widths.
ModelConfig uneven() {
  ModelConfig c = testing::tiny_config();
  c.layers = {{.heads = 4, .kv_heads = 2, .ffn = 96},
              {.heads = 6, .kv_heads = 2, .ffn = 33},
              {.heads = 1, .kv_heads = 1, .ffn = 70}};
  c.qk_norm = true;
  return c;
}
std::vector<Token> text(std::size_t count) {
  std::vector<Token> tokens;
  for (const float u : testing::uniform("text", count)) tokens.push_back(static_cast<Token>(u * 97));
  return tokens;
}
std::unique_ptr<Engine> engine_of(const ModelConfig& config, EngineOptions options, Coding coding = Coding::int4) {
  auto engine = Engine::load(std::make_shared<FormulaCheckpoint>(config, coding), options);
  EXPECT_TRUE(engine.ok()) << engine.error().message;
  return engine.ok() ? std::move(*engine) : nullptr;
}
std::vector<float> all_logits(Engine& engine, std::int32_t sequence, std::span<const Token> tokens) {
  std::vector<float> logits(tokens.size() * 97);
  const Status status = engine.forward(sequence, tokens, logits);
  EXPECT_TRUE(status.ok()) << status.error().message;
  return logits;
}
bool same_bits(std::span<const float> a, std::span<const float> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

TEST(Engine, LogitsDependNeitherOnThreadsNorOnHowThePromptIsCut) {
  const auto tokens = text(100);
  for (const Coding coding : {Coding::int4, Coding::lowrank}) {
    const auto reference = all_logits(*engine_of(uneven(), {.threads = 1}, coding), 0, tokens);
    for (const int threads : {1, 2, 5}) {
      for (const std::int64_t batch : {1, 7, 32, 64, 512}) {
        auto engine = engine_of(uneven(), {.threads = threads, .batch = batch}, coding);
        EXPECT_TRUE(same_bits(reference, all_logits(*engine, 0, tokens))) << threads << " threads, batch " << batch;
      }
    }
  }
}

/// A checkpoint whose matrices are what another's decode to.
class Decoded final : public FormulaCheckpoint {
 public:
  Decoded(ModelConfig config, Coding coding) : FormulaCheckpoint(std::move(config), coding) {}
  Result<CodedWeight> weight(const std::string& name, Arena* arena = nullptr) const override {
    SPARING_TRY(const CodedWeight coded, FormulaCheckpoint::weight(name, arena));
    Buffer values(static_cast<std::size_t>(coded.rows * coded.cols) * sizeof(float));
    decode_effective_rows(coded, 0, coded.rows, values.as<float>().data());
    return dense_weight(coded.rows, coded.cols, DType::f32, Blob::of(std::move(values)));
  }
};

// Low-rank terms count: the engine with f32 activations gives what the decoded matrices give, up to the order of sums.
TEST(Engine, LowRankTermsAreWhatTheyDecodeTo) {
  const auto tokens = text(40);
  const auto decoded = std::make_shared<Decoded>(uneven(), Coding::lowrank);
  const auto want = all_logits(*Engine::load(decoded, {.threads = 1, .kv = KvType::f32}).value(), 0, tokens);
  const EngineOptions options{.threads = 2, .kv = KvType::f32, .precision = kernels::Precision::f32};
  const auto got = all_logits(*engine_of(uneven(), options, Coding::lowrank), 0, tokens);
  const auto without = all_logits(*engine_of(uneven(), options, Coding::int4), 0, tokens);
  double error = 0, size = 0, effect = 0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    error += (want[i] - got[i]) * (want[i] - got[i]);
    effect += (want[i] - without[i]) * (want[i] - without[i]);
    size += want[i] * want[i];
  }
  EXPECT_LT(error, 1e-9 * size);
  EXPECT_GT(effect, 1e-3 * size);
}

/// The KV types, over prompts of several key blocks.
class Kv : public ::testing::TestWithParam<KvType> {};
INSTANTIATE_TEST_SUITE_P(Types, Kv,
                         ::testing::Values(KvType::f32, KvType::f16, KvType::int16, KvType::int8, KvType::int4));

TEST_P(Kv, LogitsDoNotDependOnHowThePromptIsCut) {
  const auto tokens = text(331);
  const auto reference =
      all_logits(*engine_of(uneven(), {.threads = 1, .context = 400, .batch = 1, .kv = GetParam()}), 0, tokens);
  for (const std::int64_t batch : {50, 64, 130, 331}) {
    auto engine = engine_of(uneven(), {.threads = 2, .context = 400, .batch = batch, .kv = GetParam()});
    EXPECT_TRUE(same_bits(reference, all_logits(*engine, 0, tokens))) << "batch " << batch;
  }
  // In pieces that begin and end anywhere, another sequence in between.
  auto engine = engine_of(uneven(), {.threads = 2, .context = 400, .sequences = 2, .kv = GetParam()});
  std::size_t at = 0;
  for (const std::size_t piece : {3, 200, 1, 60, 1, 66}) {
    ASSERT_TRUE(engine->forward(1, std::span(tokens).subspan(331 - piece), {}).ok() || piece == 200);
    const auto logits = all_logits(*engine, 0, std::span(tokens).subspan(at, piece));
    ASSERT_TRUE(same_bits(logits, std::span(reference).subspan(at * 97, piece * 97))) << "piece at " << at;
    at += piece;
  }
}

TEST_P(Kv, TakingBackAFewPositionsIsExactAndMoreSaysHowFar) {
  const auto tokens = text(200);
  const EngineOptions options{.context = 256, .kv = GetParam()};
  const auto reference = all_logits(*engine_of(uneven(), options), 0, tokens);
  auto engine = engine_of(uneven(), options);
  const auto noise = text(97);
  for (const std::size_t keep : {130, 127, 120, 64, 63, 10, 0}) {
    // As speculation does: wrong guesses across a block boundary, then back.
    engine->truncate(0, 0);
    ASSERT_TRUE(engine->forward(0, std::span(tokens).first(130), {}).ok());
    ASSERT_TRUE(engine->forward(0, std::span(noise).first(30), {}).ok());
    engine->truncate(0, static_cast<std::int64_t>(keep));
    const auto kept = static_cast<std::size_t>(engine->length(0));
    ASSERT_LE(kept, keep);
    if (!is_coded(GetParam()) || keep >= 64) {
      EXPECT_EQ(kept, keep);
    } else {
      EXPECT_EQ(kept, 0u);
    }
    const auto again = all_logits(*engine, 0, std::span(tokens).subspan(kept));
    EXPECT_TRUE(same_bits(again, std::span(reference).subspan(kept * 97))) << "kept " << kept;
  }
}

TEST_P(Kv, CodedLogitsAreNearFloatOnes) {
  const auto tokens = text(200);
  // Float activations: rounding them to 8 bits would amplify the smallest difference.
  const auto loaded = [&](KvType kv) {
    return engine_of(uneven(), {.context = 256, .kv = kv, .precision = kernels::Precision::f32}, Coding::f32);
  };
  const auto reference = all_logits(*loaded(KvType::f32), 0, tokens);
  auto engine = loaded(GetParam());
  const auto logits = all_logits(*engine, 0, tokens);
  double error = 0, power = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    error += std::pow(logits[i] - reference[i], 2);
    power += std::pow(reference[i], 2);
  }
  // A step of int4 (int8) is 1/15 (1/255) of a range of 4 to 5 deviations: an error of 0.08 (0.005) deviations in each
  // key and value, three layers of it. One of int16 is 1/4095 of 2 to 3: .0002, in queries and weights too.
  const double bound[] = {0, 1.5e-3, 1e-3, 1.5e-2, 2.4e-1};
  EXPECT_LE(std::sqrt(error / power), bound[static_cast<int>(GetParam())]);
  EXPECT_EQ(error > 0, GetParam() != KvType::f32);
}

TEST(Engine, KvTypesHaveNames) {
  for (const KvType type : {KvType::f32, KvType::f16, KvType::int16, KvType::int8, KvType::int4}) {
    EXPECT_EQ(find_kv_type(name_of(type)), type);
  }
  EXPECT_EQ(find_kv_type("int5"), std::nullopt);
}

TEST(Engine, CodedCachesAreSmaller) {
  ModelConfig config = testing::tiny_config();
  config.head_dim = config.rope.dimension = 64;
  const auto bytes = [&](KvType type) {
    return static_cast<double>(engine_of(config, {.context = 4096, .kv = type})->kv_bytes());
  };
  const double half = bytes(KvType::f16);
  EXPECT_EQ(bytes(KvType::f32), 2 * half);
  EXPECT_EQ(bytes(KvType::int16), (1 + 4 / 128.0) * half);
  // Codes and 32 bits a row of 64; two kept blocks of 64 in f16 and the staging area come on top.
  EXPECT_LT(bytes(KvType::int8), (0.5 + 4 / 128.0 + 0.05) * half);
  EXPECT_LT(bytes(KvType::int4), (0.25 + 4 / 128.0 + 0.05) * half);
}

TEST(Engine, OneTokenAtATimeEqualsTheWholePrompt) {
  const auto tokens = text(80);
  const auto reference = all_logits(*engine_of(uneven(), {}), 0, tokens);
  auto engine = engine_of(uneven(), {.threads = 2});
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const auto one = all_logits(*engine, 0, {&tokens[i], 1});
    ASSERT_TRUE(same_bits(one, std::span(reference).subspan(i * 97, 97))) << i;
  }
  EXPECT_EQ(engine->length(0), 80);
}

TEST(Engine, ABatchOfSequencesEqualsEachAlone) {
  const std::vector<std::size_t> prompts = {5, 1, 40, 66, 20, 3, 64, 63};
  const auto tokens = text(100);
  auto together = engine_of(uneven(), {.threads = 2, .sequences = 8});
  auto alone = engine_of(uneven(), {.threads = 1});
  std::vector<std::int32_t> sequences;
  for (std::size_t s = 0; s < prompts.size(); ++s) {
    ASSERT_TRUE(together->forward(static_cast<std::int32_t>(s), std::span(tokens).first(prompts[s]), {}).ok());
    sequences.push_back(static_cast<std::int32_t>(s));
  }
  for (std::size_t step = 0; step < 4; ++step) {
    std::vector<Token> next;
    for (const std::size_t p : prompts) next.push_back(tokens[p + step]);
    std::vector<float> logits(8 * 97);
    ASSERT_TRUE(together->decode(sequences, next, logits).ok());
    for (std::size_t s = 0; s < prompts.size(); ++s) {
      alone->truncate(0, 0);
      std::vector<float> want(97);
      ASSERT_TRUE(alone->forward(0, std::span(tokens).first(prompts[s] + step + 1), want).ok());
      EXPECT_TRUE(same_bits(want, std::span(logits).subspan(s * 97, 97))) << "sequence " << s << " step " << step;
    }
  }
}

TEST(Engine, TruncatingForgets) {
  const auto tokens = text(90);
  auto engine = engine_of(uneven(), {});
  const auto reference = all_logits(*engine, 0, tokens);
  engine->truncate(0, 70);
  EXPECT_EQ(engine->length(0), 70);
  const auto other = text(97);
  ASSERT_TRUE(engine->forward(0, std::span(other).last(7), {}).ok());
  engine->truncate(0, 70);
  const auto again = all_logits(*engine, 0, std::span(tokens).subspan(70));
  EXPECT_TRUE(same_bits(again, std::span(reference).subspan(70 * 97)));
  engine->truncate(0, 1000);  // never grows
  EXPECT_EQ(engine->length(0), 90);
}

TEST(Engine, ReplacedWeightsAreUsedAndCounted) {
  const FormulaCheckpoint other(uneven(), Coding::f32);
  const auto replacement = other.weight("layers.1.mlp.down");
  ASSERT_TRUE(replacement.ok());
  EngineOptions options;
  auto plain = engine_of(uneven(), options);
  options.override_weight = [&](const std::string& name) {
    return name == "layers.1.mlp.down" ? &*replacement : nullptr;
  };
  auto changed = engine_of(uneven(), options);
  const auto tokens = text(3);
  EXPECT_FALSE(same_bits(all_logits(*plain, 0, tokens), all_logits(*changed, 0, tokens)));
  EXPECT_GT(changed->weight_bytes(), plain->weight_bytes());
  EXPECT_GT(changed->bytes_per_token(), plain->bytes_per_token());
}

TEST(Engine, RefusesWhatCannotBe) {
  auto small = engine_of(uneven(), {.context = 8});
  const auto tokens = text(9);
  const Status full = small->forward(0, tokens, {});
  ASSERT_FALSE(full.ok());
  EXPECT_NE(full.error().message.find("context holds 8"), std::string::npos) << full.error().message;
  EXPECT_EQ(small->length(0), 0);
  const std::vector<Token> foreign = {3, 97};
  const Status unknown = small->forward(0, foreign, {});
  ASSERT_FALSE(unknown.ok());
  EXPECT_NE(unknown.error().message.find("97"), std::string::npos);
  EXPECT_FALSE(small->forward(1, std::span(tokens).first(1), {}).ok());
  const std::vector<std::int32_t> twice = {0, 0};
  std::vector<float> logits(2 * 97);
  EXPECT_FALSE(small->decode(twice, std::span(tokens).first(2), logits).ok());

  auto checkpoint = std::make_shared<FormulaCheckpoint>(uneven());
  const auto memory = Engine::load(checkpoint, {.memory = 1 << 20});
  ASSERT_FALSE(memory.ok());
  EXPECT_EQ(memory.error().kind, ErrorKind::resource);
  EXPECT_EQ(memory.error().message.rfind("[load] needs ", 0), 0u) << memory.error().message;
  EXPECT_NE(memory.error().message.find("1.00 MiB free"), std::string::npos) << memory.error().message;
  EXPECT_FALSE(Engine::load(checkpoint, {.context = std::int64_t{1} << 60}).ok());
  EXPECT_FALSE(Engine::load(checkpoint, {.batch = 0}).ok());
}

TEST(Sampler, GreedyTakesTheLowestOfEquals) {
  Sampler greedy({});
  EXPECT_EQ(greedy.sample(std::vector<float>{1, 3, 3, 2}), 1);
  EXPECT_EQ(greedy.sample(std::vector<float>{NAN, -INFINITY, -5}), 2);
}

// Long enough for whole stretches and a rest; the greatest stands in each of them in turn, before its equal.
TEST(Sampler, LikeliestOfManyIsTheFirstOfEqualsAndNeverNaN) {
  std::vector<float> logits(3000);
  for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = -1.0f - static_cast<float>(i % 7);
  for (const std::size_t at : {0u, 17u, 1023u, 1024u, 2047u, 2048u, 2998u}) {
    auto mine = logits;
    mine[at] = mine[at + 1] = 2.0f;
    mine[5] = mine[1500] = std::nanf("");
    EXPECT_EQ(likeliest(mine), static_cast<Token>(at));
  }
  EXPECT_EQ(likeliest(std::vector<float>(2000, std::nanf(""))), 0);
  EXPECT_EQ(likeliest(std::vector<float>(2000, -INFINITY)), 0);
}

TEST(Sampler, FollowsTheDistribution) {
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.15f), std::log(0.05f)};
  const auto shares = [&](SamplingOptions options) {
    options.temperature = options.temperature > 0 ? options.temperature : 1.0f;
    options.seed = 7;
    Sampler sampler(options);
    std::vector<double> share(4);
    for (int i = 0; i < 20000; ++i) share[static_cast<std::size_t>(sampler.sample(logits))] += 1 / 20000.0;
    return share;
  };
  // 20,000 draws: standard deviation at most 0.0036.
  auto s = shares({});
  EXPECT_NEAR(s[0], 0.5, 0.015);
  EXPECT_NEAR(s[3], 0.05, 0.015);
  s = shares({.top_k = 2});
  EXPECT_NEAR(s[0], 0.625, 0.015);
  EXPECT_EQ(s[2] + s[3], 0);
  s = shares({.top_p = 0.79f});
  EXPECT_NEAR(s[1], 0.375, 0.015);
  EXPECT_EQ(s[2] + s[3], 0);
  s = shares({.min_p = 0.2f});
  EXPECT_GT(s[2], 0.1);
  EXPECT_EQ(s[3], 0);
  s = shares({.temperature = 0.5f});
  EXPECT_NEAR(s[0], 0.25 / 0.365, 0.015);
}

TEST(Sampler, SameSeedSameDraws) {
  const auto logits = testing::uniform("logits", 300);
  const auto draws = [&](std::uint64_t seed) {
    Sampler sampler({.temperature = 1.0f, .top_k = 200, .top_p = 0.9f, .seed = seed});
    std::vector<Token> out;
    for (int i = 0; i < 50; ++i) out.push_back(sampler.sample(logits));
    return out;
  };
  EXPECT_EQ(draws(1), draws(1));
  EXPECT_NE(draws(1), draws(2));
}

}  // namespace
}  // namespace sparing
