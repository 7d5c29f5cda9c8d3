#include "lab/sensitivity.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "runtime/engine.h"
#include "runtime/test_model.h"

namespace sparing {
namespace {

using testing::FormulaCheckpoint;

std::vector<float> logits_of(const std::shared_ptr<const Checkpoint>& checkpoint, const std::vector<Token>& tokens,
                             const std::string& site, const CodedWeight& replacement) {
  EngineOptions options;
  options.threads = 1;
  options.context = static_cast<std::int64_t>(tokens.size());
  options.kv = KvType::f32;
  options.precision = kernels::Precision::f32;
  options.override_weight = [&](const std::string& name) { return name == site ? &replacement : nullptr; };
  const auto engine = Engine::load(checkpoint, options);
  EXPECT_TRUE(engine.ok()) << engine.error().message;
  std::vector<float> logits(tokens.size() * static_cast<std::size_t>(checkpoint->config().vocab));
  EXPECT_TRUE((*engine)->forward(0, tokens, logits).ok());
  return logits;
}

double mean_kl(const std::vector<float>& p, const std::vector<float>& q, std::size_t vocab) {
  double sum = 0;
  for (std::size_t row = 0; row < p.size(); row += vocab) {
    double zp = 0, zq = 0;
    for (std::size_t v = 0; v < vocab; ++v) zp += std::exp(double{p[row + v]}), zq += std::exp(double{q[row + v]});
    for (std::size_t v = 0; v < vocab; ++v) {
      const double lp = p[row + v] - std::log(zp), lq = q[row + v] - std::log(zq);
      sum += std::exp(lp) * (lp - lq);
    }
  }
  return sum * static_cast<double>(vocab) / static_cast<double>(p.size());
}

// Small random changes of one weight: what the sensitivities of its outputs predict, and the true divergence.
TEST(Sensitivity, PredictsTheDivergenceThatSmallErrorsCause) {
  const auto checkpoint = std::make_shared<FormulaCheckpoint>(testing::tiny_config());
  const std::int32_t vocab = checkpoint->config().vocab;
  const auto sequences = testing::random_text(24, 32, vocab, 11);
  const auto sensitivity = measure_sensitivity(*checkpoint, sequences, 5, {.threads = 2});
  ASSERT_TRUE(sensitivity.ok()) << sensitivity.error().message;
  EXPECT_EQ(sensitivity->tokens, 24 * 32);
  EXPECT_EQ(sensitivity->embedding.size(), static_cast<std::size_t>(checkpoint->config().hidden));
  for (const auto& [site, outputs] : sensitivity->outputs) {
    // The same squares, summed the other way.
    const std::vector<float>& tokens = sensitivity->by_token.at(site);
    ASSERT_EQ(tokens.size(), 24u * 32u) << site;
    double by_token = 0, by_output = 0;
    for (const float v : tokens) by_token += v;
    for (const float v : outputs) by_output += 24.0 * 32 * v;
    EXPECT_NEAR(by_token, by_output, 1e-5 * by_output) << site;
  }
  for (const std::string site : {"layers.0.attn.v", "layers.1.mlp.down", "layers.2.mlp.up", "head"}) {
    const CodedWeight original = checkpoint->weight(site).value();
    const auto& outputs = sensitivity->outputs.at(site);
    ASSERT_EQ(outputs.size(), static_cast<std::size_t>(original.rows));
    const auto count = static_cast<std::size_t>(original.rows * original.cols);
    std::vector<float> values(count);
    decode_rows(original, 0, original.rows, values.data());
    double size = 0;
    for (const float v : values) size += double{v} * v;
    // Inputs of unit mean square after a norm; elsewhere measured by the change of the outputs themselves.
    const float step = 0.03f * static_cast<float>(std::sqrt(size / static_cast<double>(count)));
    // The same change of every row's outputs in turn: odd rows alone against all rows must scale as sensitivities do.
    double kl[2] = {0, 0}, weight[2] = {0, 0};
    for (const int half : {0, 1}) {
      Rng rng(3);
      Buffer data(count * sizeof(float));
      for (std::size_t i = 0; i < count; ++i) {
        const std::size_t row = i / static_cast<std::size_t>(original.cols);
        const auto noise = static_cast<float>(rng.normal());
        const bool changed = half == 0 || row % 2 == 1;
        data.as<float>()[i] = values[i] + (changed ? step * noise : 0.0f);
      }
      for (std::size_t r = 0; r < outputs.size(); ++r) {
        if (half == 0 || r % 2 == 1) weight[half] += outputs[r];
      }
      const auto changed = dense_weight(original.rows, original.cols, DType::f32, Blob::of(std::move(data)));
      for (std::size_t s = 0; s < 8; ++s) {
        kl[half] += mean_kl(logits_of(checkpoint, sequences[s], site, original),
                            logits_of(checkpoint, sequences[s], site, changed), static_cast<std::size_t>(vocab)) /
                    8;
      }
    }
    EXPECT_GT(kl[0], 0) << site;
    EXPECT_NEAR(kl[1] / kl[0], weight[1] / weight[0], 0.2) << site;
    if (site == "head" || site == "layers.2.mlp.up") {
      // What these read is normalised with a gain of mean square about 1 + 1/12: dy^2 = step^2 |x|^2.
      double gain = 0;
      const auto norm = checkpoint->vector(site == "head" ? "norm" : "layers.2.mlp_norm").value();
      for (const float g : norm) gain += double{g} * g;
      const double predicted = 0.5 * weight[0] * step * step * gain;
      EXPECT_LT(std::abs(std::log(kl[0] / predicted)), std::log(1.6)) << site << ": " << kl[0] << " for " << predicted;
    }
  }
}

TEST(Sensitivity, BitsDependOnSeedButNotOnThreads) {
  const FormulaCheckpoint checkpoint(testing::tiny_config());
  const auto sequences = testing::random_text(5, 16, checkpoint.config().vocab, 11);
  const auto one = measure_sensitivity(checkpoint, sequences, 1, {.threads = 1});
  const auto three = measure_sensitivity(checkpoint, sequences, 1, {.threads = 3});
  const auto other = measure_sensitivity(checkpoint, sequences, 2, {.threads = 1});
  ASSERT_TRUE(one.ok() && three.ok() && other.ok());
  EXPECT_EQ(one->outputs, three->outputs);
  EXPECT_EQ(one->embedding, three->embedding);
  EXPECT_NE(one->outputs, other->outputs);
}

TEST(Sensitivity, RefusesNothingAndForeignTokens) {
  const FormulaCheckpoint checkpoint(testing::tiny_config());
  EXPECT_FALSE(measure_sensitivity(checkpoint, {}, 1, {}).ok());
  EXPECT_FALSE(measure_sensitivity(checkpoint, {{0, checkpoint.config().vocab}}, 1, {}).ok());
}

// Of what a sample says, products in bf16 change little: what is drawn of the next tokens, and the last digits.
TEST(Sensitivity, ProductsInBf16SayMuchTheSame) {
  const FormulaCheckpoint checkpoint(testing::tiny_config());
  const auto sequences = testing::random_text(24, 32, checkpoint.config().vocab, 11);
  const auto whole = measure_sensitivity(checkpoint, sequences, 5, {.threads = 2}),
             rough = measure_sensitivity(checkpoint, sequences, 5, {.threads = 2, .bf16 = true});
  ASSERT_TRUE(rough.ok()) << rough.error().message;
  for (const auto& [site, outputs] : whole->outputs) {
    double a = 0, b = 0;
    for (const float v : outputs) a += v;
    for (const float v : rough->outputs.at(site)) b += v;
    EXPECT_NEAR(b, a, 0.1 * a) << site;
  }
}

}  // namespace
}  // namespace sparing
