#include "methods/input_basis.h"

#include <algorithm>
#include <cmath>

#include <gtest/gtest.h>

#include "base/rng.h"
#include "codecs/transform.h"
#include "lab/math/obq.h"

namespace sparing {
namespace {

constexpr std::int64_t kRows = 24, kCols = 64;

struct Planted {
  std::vector<float> weight = std::vector<float>(kRows * kCols), moment = std::vector<float>(kCols * kCols);
  Statistics statistics{kCols, 400, moment};
  SiteProblem problem{.site = "layers.0.mlp.up",
                      .rows = kRows,
                      .cols = kCols,
                      .weight = weight,
                      .statistics = &statistics,
                      .seed = 3,
                      .threads = 1};

  /// Input j has the size size(j); weight (r, j) the size weight_size(j).
  template <class Size, class WeightSize>
  Planted(Size size, WeightSize weight_size) {
    Rng rng(11);
    for (std::size_t i = 0; i < weight.size(); ++i)
      weight[i] = static_cast<float>(weight_size(i % kCols) * rng.normal());
    std::vector<double> x(kCols);
    for (int token = 0; token < 400; ++token) {
      for (std::size_t j = 0; j < kCols; ++j) x[j] = size(j) * rng.normal();
      for (std::size_t i = 0; i < kCols; ++i)
        for (std::size_t j = 0; j < kCols; ++j) moment[i * kCols + j] += static_cast<float>(x[i] * x[j]);
    }
  }
  double output_error(const std::string& method, std::vector<std::pair<std::string, std::string>> given) {
    const Method& m = *find_method(method).value();
    const auto result = m.apply(problem, Params::make(m, given).value()).value();
    std::vector<float> decoded(weight.size());
    decode_effective_rows(result.weight, 0, kRows, decoded.data());
    ThreadPool pool(1);
    return math::relative_output_error(weight, decoded, kRows, kCols, moment, pool);
  }
};

double one(std::size_t) {
  return 1;
}

TEST(InputBasis, ARotationSpreadsOutliersOverTheirBlock) {
  // A few inputs' weights are ten times the others': they set every group's scale, and the others round to nothing.
  Planted planted(one, [](std::size_t j) { return j % 16 == 3 ? 1.0 : 0.1; });
  const double plain = planted.output_error("rtn", {{"bits", "3"}}),
               rotated = planted.output_error("rtn", {{"bits", "3"}, {"basis", "hadamard"}});
  EXPECT_LT(rotated, 0.8 * plain);
}

TEST(InputBasis, ScalesSpareTheWeightsOfLargeInputs) {
  // All weights alike, and as few large inputs: their errors are what counts.
  Planted planted([](std::size_t j) { return j % 16 == 3 ? 30.0 : 1.0; }, one);
  const std::vector<std::pair<std::string, std::string>> plain = {{"bits", "3"}, {"refine", "0"}, {"clip", "none"}};
  auto scaled = plain;
  scaled.emplace_back("basis", "scaled");
  EXPECT_LT(planted.output_error("gptq", scaled), 0.8 * planted.output_error("gptq", plain));
}

TEST(InputBasis, InputsAllAlikeKeepTheirScale) {
  Planted planted(one, one);
  const Method& gptq = *find_method("gptq").value();
  const auto result = gptq.apply(planted.problem, Params::make(gptq, {{"basis", "scaled"}}).value()).value();
  std::vector<float> ones(kCols, 1.0f), d(kCols);
  ASSERT_EQ(result.weight.input.kind, TransformKind::diagonal);
  apply_transform(result.weight.input, kCols, ones.data(), d.data());
  for (const float f : d) EXPECT_NEAR(f, 1.0f, 0.2f);
}

/// Holds the weight that it was given, and the gradient that it is handed.
class Recorder final : public TrainableWeight {
 public:
  explicit Recorder(std::span<const float> weight) : weight_(weight.begin(), weight.end()) {}
  void values(std::span<float> out, ThreadPool&) const override { std::ranges::copy(weight_, out.begin()); }
  void step(std::span<const float> gradient, double, ThreadPool&) override {
    gradient_.assign(gradient.begin(), gradient.end());
  }
  void keep() override {}
  void recall() override {}
  Result<CodedWeight> code() const override {
    Buffer buffer(weight_.size() * sizeof(float));
    std::ranges::copy(weight_, buffer.as<float>().begin());
    return dense_weight(kRows, kCols, DType::f32, Blob::of(std::move(buffer)));
  }
  std::vector<float> weight_, gradient_;
};
std::shared_ptr<Recorder> recorder;

Result<SiteResult> recording(const SiteProblem& problem, const Params&) {
  recorder = std::make_shared<Recorder>(problem.weight);
  SiteResult result;
  SPARING_TRY(result.weight, recorder->code());
  result.trainable = recorder;
  return result;
}

double dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

TEST(InputBasis, AWeightThatIsTrainedIsTrainedInItsBasis) {
  Planted planted([](std::size_t j) { return 1.0 + static_cast<double>(j % 5); }, one);
  ThreadPool pool(1);
  Rng rng(2);
  for (const char* basis : {"hadamard", "scaled"}) {
    SCOPED_TRACE(basis);
    const auto params = Params::make(*find_method("gptq").value(), {{"basis", basis}}).value();
    const SiteResult result = apply_in_basis(planted.problem, params, recording).value();
    std::vector<float> values(planted.weight.size()), stored(values), gradient(values), inner(values), outer(values);
    result.trainable->values(values, pool);
    const CodedWeight coded = result.trainable->code().value();
    decode_effective_rows(coded, 0, kRows, stored.data());
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_NEAR(values[i], planted.weight[i], 1e-5);
      ASSERT_NEAR(stored[i], planted.weight[i], 1e-5);
    }
    // What a small move within the basis does to a loss is the same, whichever gradient foretells it.
    for (float& g : gradient) g = static_cast<float>(rng.normal());
    result.trainable->step(gradient, 1, pool);
    for (float& d : inner) d = static_cast<float>(rng.normal());
    outer = inner;
    std::vector<float> scratch(kCols);
    for (std::int64_t r = 0; r < kRows; ++r)
      fold_transform(coded.input, kCols, outer.data() + r * kCols, scratch.data());
    EXPECT_NEAR(dot(recorder->gradient_, inner), dot(gradient, outer), 1e-3);
  }
}

TEST(InputBasis, SitesOfOneInputTurnItOnceAndToTheSameBits) {
  Planted planted([](std::size_t j) { return 1.0 + static_cast<double>(j % 5); }, one);
  const Method& gptq = *find_method("gptq").value();
  const auto params = Params::make(gptq, {{"bits", "3"}, {"basis", "hadamard"}}).value();
  const CodedWeight alone = gptq.apply(planted.problem, params).value().weight;
  math::MetricCache cache;
  planted.statistics.metrics = &cache;
  for (int site = 0; site < 2; ++site) {
    const CodedWeight shared = gptq.apply(planted.problem, params).value().weight;
    EXPECT_TRUE(std::ranges::equal(shared.terms[0].blob.bytes, alone.terms[0].blob.bytes));
    EXPECT_TRUE(std::ranges::equal(shared.input.blob.bytes, alone.input.blob.bytes));
  }
  const auto turned = cache.turned([]() -> std::vector<float> { return {}; });
  EXPECT_EQ(turned->second_moment.size(), planted.moment.size());
}

TEST(InputBasis, ImpossibleCombinationsAreRefused) {
  Planted planted(one, one);
  const Method& gptq = *find_method("gptq").value();
  const auto permuted = Params::make(gptq, {{"static_groups", "false"}, {"basis", "hadamard"}}).value();
  const auto refused = gptq.apply(planted.problem, permuted);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.error().message.find("static_groups=true"), std::string::npos);
  planted.problem.statistics = nullptr;
  const auto blind = gptq.apply(planted.problem, Params::make(gptq, {{"basis", "scaled"}}).value());
  ASSERT_FALSE(blind.ok());
  EXPECT_NE(blind.error().message.find("basis=scaled"), std::string::npos);
}

}  // namespace
}  // namespace sparing
