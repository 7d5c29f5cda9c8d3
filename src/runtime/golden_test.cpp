// Logits against transformers' in float32 (tests/golden/make_runtime_golden.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "runtime/engine.h"
#include "runtime/golden.h"

namespace sparing {
namespace {

using testing::golden;
using testing::golden_config;

class TinyGolden : public ::testing::TestWithParam<const char*> {};

TEST_P(TinyGolden, LogitsMatch) {
  const auto want = golden(GetParam());
  ASSERT_TRUE(want.is_object());
  const ModelConfig config = golden_config(GetParam());
  auto engine = Engine::load(std::make_shared<testing::FormulaCheckpoint>(config),
                             {.threads = 2, .batch = 50, .kv = KvType::f32, .precision = kernels::Precision::f32});
  ASSERT_TRUE(engine.ok()) << engine.error().message;
  const auto tokens = want["tokens"].get<std::vector<Token>>();
  const auto vocab = static_cast<std::size_t>(config.vocab);
  std::vector<float> logits(tokens.size() * vocab);
  const Status status = (*engine)->forward(0, tokens, logits);
  ASSERT_TRUE(status.ok()) << status.error().message;
  for (std::size_t p = 0; p < want["positions"].size(); ++p) {
    const float* got = logits.data() + want["positions"][p].get<std::size_t>() * vocab;
    for (std::size_t i = 0; i < vocab; ++i) EXPECT_NEAR(got[i], want["logits"][p][i].get<float>(), 1e-4);
  }
}
INSTANTIATE_TEST_SUITE_P(Models, TinyGolden, ::testing::Values("llama", "mistral", "qwen2", "qwen3"));

std::shared_ptr<const Checkpoint> real_model(const std::string& file) {
  const char* folder = std::getenv("SPARING_MODELS");
  const std::filesystem::path path = std::filesystem::path(folder ? folder : "models") / file;
  if (!std::filesystem::exists(path)) return nullptr;
  auto checkpoint = open_checkpoint(path.string());
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.error().message;
  return checkpoint.ok() ? *checkpoint : nullptr;
}

double worst_difference(Engine& engine, const nlohmann::json& want) {
  const auto tokens = want["tokens"].get<std::vector<Token>>();
  const auto vocab = static_cast<std::size_t>(engine.config().vocab);
  std::vector<float> logits(tokens.size() * vocab);
  EXPECT_TRUE(engine.forward(0, tokens, logits).ok());
  double worst = 0;
  for (std::size_t p = 0; p < want["positions"].size(); ++p) {
    const float* got = logits.data() + want["positions"][p].get<std::size_t>() * vocab;
    EXPECT_EQ(std::max_element(got, got + vocab) - got, want["best"][p].get<std::ptrdiff_t>());
    for (std::size_t i = 0; i < want["ids"].size(); ++i) {
      const double d = got[want["ids"][i].get<std::size_t>()] - want["logits"][p][i].get<double>();
      worst = std::max(worst, std::abs(d));
    }
  }
  return worst;
}

TEST(SmolLM2, LogitsWithFloatActivationsMatch) {
  const auto checkpoint = real_model("smollm2.gguf");
  if (!checkpoint) GTEST_SKIP() << "models/smollm2.gguf is missing: run 'make model' or set SPARING_MODELS";
  auto engine = Engine::load(checkpoint, {.context = 256, .kv = KvType::f32, .precision = kernels::Precision::f32});
  ASSERT_TRUE(engine.ok()) << engine.error().message;
  EXPECT_LT(worst_difference(**engine, golden("smollm2")), 2e-3);
}

TEST(SmolLM2, GreedyTextMatches) {
  const auto checkpoint = real_model("smollm2.gguf");
  if (!checkpoint) GTEST_SKIP() << "models/smollm2.gguf is missing: run 'make model' or set SPARING_MODELS";
  auto engine = Engine::load(checkpoint, {.context = 256, .kv = KvType::f32, .precision = kernels::Precision::f32});
  ASSERT_TRUE(engine.ok()) << engine.error().message;
  const auto want = golden("smollm2");
  auto tokens = want["tokens"].get<std::vector<Token>>();
  tokens.resize(40);
  std::vector<float> logits(static_cast<std::size_t>((*engine)->config().vocab));
  Sampler greedy({});
  std::vector<Token> text;
  while (text.size() < want["greedy"].size()) {
    ASSERT_TRUE((*engine)->forward(0, tokens, logits).ok());
    tokens = {greedy.sample(logits)};
    text.push_back(tokens[0]);
  }
  EXPECT_EQ(text, want["greedy"].get<std::vector<Token>>());
}

}  // namespace
}  // namespace sparing
