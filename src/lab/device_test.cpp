// Devices by name, what libtorch throws, and that an accelerator, where this machine and its libtorch have one,
// calibrates, measures and trains as the CPU does.

#include "lab/device.h"

#include <gtest/gtest.h>

#include <cmath>

#include "lab/calibrate.h"
#include "lab/heal.h"
#include "lab/sensitivity.h"
#include "runtime/test_model.h"

namespace sparing {
namespace {

using testing::FormulaCheckpoint;
using testing::random_text;

/// Rounds every weight to bf16 and keeps the statistics.
class Rounder final : public SiteCoder {
 public:
  explicit Rounder(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}
  const CodedWeight* finished(const std::string&) override { return nullptr; }
  bool wants_statistics(const std::string& site) const override { return site != "embed"; }
  bool wants_damage(const std::string& site) const override { return wants_statistics(site); }
  Result<CodedWeight> code(const std::string& site, const Statistics* statistics) override {
    if (statistics) {
      for (const auto& values : {statistics->second_moment, statistics->input_damage, statistics->residual_damage})
        sums[site].emplace_back(values.begin(), values.end());
    }
    SPARING_TRY(const CodedWeight original, checkpoint_.weight(site));
    Buffer data(static_cast<std::size_t>(original.rows * original.cols) * sizeof(float));
    decode_rows(original, 0, original.rows, data.as<float>().data());
    for (float& v : data.as<float>()) v = std::round(64 * v) / 64;
    return dense_weight(original.rows, original.cols, DType::f32, Blob::of(std::move(data)));
  }
  Status finish_block(const std::string&) override { return {}; }
  std::map<std::string, std::vector<std::vector<float>>> sums;

 private:
  const Checkpoint& checkpoint_;
};

std::map<std::string, CodedWeight> as_they_are(const Checkpoint& checkpoint) {
  std::map<std::string, CodedWeight> all;
  for (const TensorEntry& tensor : checkpoint.tensors())
    if (!tensor.shape.is_vector()) all.emplace(tensor.shape.name, checkpoint.weight(tensor.shape.name).value());
  return all;
}

double relative_difference(std::span<const float> a, std::span<const float> b) {
  double difference = 0, size = 0;
  for (std::size_t i = 0; i < b.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
    size += std::pow(static_cast<double>(b[i]), 2);
  }
  return size > 0 ? std::sqrt(difference / size) : std::sqrt(difference);
}

TEST(Device, UnknownOnesAreRefusedInOneLine) {
  EXPECT_TRUE(lab::find_device("cpu").ok());
  for (const std::string name : {"nowhere", "cuda:99", "meta", ""}) {
    const auto found = lab::find_device(name);
    ASSERT_FALSE(found.ok()) << name;
    EXPECT_EQ(found.error().kind, ErrorKind::usage);
    EXPECT_EQ(found.error().message.find('\n'), std::string::npos);
    EXPECT_NE(found.error().message.find("--device " + name), std::string::npos) << found.error().message;
    EXPECT_LT(found.error().message.size(), 400u) << found.error().message;
  }
}

TEST(Device, WhatIsThrownThereIsAnErrorAndOnTheCpuABug) {
  const auto body = [](at::Device) -> Result<int> {
    ThreadPool pool(3);
    lab::each_alone(pool, 30, [](std::size_t i) { TORCH_CHECK(i != 20, "out of memory. Tried this and that\nmore"); });
    return 1;
  };
  EXPECT_THROW(static_cast<void>(lab::on_device("heal", "cpu", body)), c10::Error);
  try {
    static_cast<void>(body(at::kCPU));
    FAIL() << "each_alone kept what was thrown";
  } catch (const c10::Error& thrown) {
    const Error error = lab::thrown_error("heal", thrown);
    EXPECT_EQ(error.kind, ErrorKind::resource);
    EXPECT_EQ(error.message.find("[heal] out of memory: give"), 0u) << error.message;
  }
}

class Accelerator : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"cuda", "xpu", "mps"})
      if (device.empty() && lab::find_device(name).ok()) device = name;
    if (device.empty()) GTEST_SKIP() << "no accelerator, or a libtorch without one";
  }
  std::string device;
  const FormulaCheckpoint checkpoint{testing::tiny_config()};
};

TEST_F(Accelerator, GathersTheStatisticsThatTheCpuDoes) {
  const auto text = random_text(7, 40, checkpoint.config().vocab, 21);
  Rounder here(checkpoint), there(checkpoint), again(checkpoint);
  ASSERT_TRUE(calibrate(checkpoint, text, {.threads = 2}, here).ok());
  const Status status = calibrate(checkpoint, text, {.threads = 2, .device = device}, there);
  ASSERT_TRUE(status.ok()) << status.error().message;
  ASSERT_TRUE(calibrate(checkpoint, text, {.threads = 3, .device = device}, again).ok());
  EXPECT_TRUE(there.sums == again.sums) << "bits depend on threads";
  for (const auto& [site, sums] : here.sums) {
    for (std::size_t k = 0; k < sums.size(); ++k) {
      ASSERT_EQ(there.sums.at(site)[k].size(), sums[k].size());
      // Damages are differences of what is nearly the same.
      EXPECT_LT(relative_difference(there.sums.at(site)[k], sums[k]), k == 0 ? 1e-5 : 1e-2) << site << " " << k;
    }
  }
}

TEST_F(Accelerator, MeasuresTheSensitivityThatTheCpuDoes) {
  const auto text = random_text(5, 32, checkpoint.config().vocab, 21);
  const auto here = measure_sensitivity(checkpoint, text, 5, {.threads = 2}),
             there = measure_sensitivity(checkpoint, text, 5, {.threads = 2, .device = device});
  ASSERT_TRUE(there.ok()) << there.error().message;
  for (const auto& [site, outputs] : here->outputs)
    EXPECT_LT(relative_difference(there->outputs.at(site), outputs), 1e-3) << site;
  EXPECT_LT(relative_difference(there->embedding, here->embedding), 1e-3);
}

TEST_F(Accelerator, TrainsAsTheCpuDoes) {
  std::map<std::string, CodedWeight> weights = as_they_are(checkpoint);
  HealProblem problem{.original = checkpoint,
                      .weights = std::move(weights),
                      .sequences = random_text(32, 24, checkpoint.config().vocab, 21),
                      .held_out = random_text(4, 24, checkpoint.config().vocab, 22),
                      .schedule = {}};
  problem.schedule.tokens = 1536;
  problem.schedule.check = 512;
  // Started beside the original, so that there is something to gain.
  for (const auto& [name, weight] : problem.weights) {
    Buffer data(static_cast<std::size_t>(weight.rows * weight.cols) * sizeof(float));
    decode_rows(weight, 0, weight.rows, data.as<float>().data());
    for (float& v : data.as<float>()) v = std::round(16 * v) / 16;
    problem.weights[name] = dense_weight(weight.rows, weight.cols, DType::f32, Blob::of(std::move(data)));
  }
  problem.schedule.vector_rate = 0.01;
  problem.schedule.products = HealSchedule::Products::f32;
  const auto here = heal(problem, {.threads = 2}), there = heal(problem, {.threads = 2, .device = device}),
             again = heal(problem, {.threads = 1, .device = device});
  ASSERT_TRUE(here.ok() && there.ok()) << (here.ok() ? there.error().message : here.error().message);
  EXPECT_LT(there->report.held_out_after, there->report.held_out_before);
  EXPECT_NEAR(there->report.held_out_before, here->report.held_out_before, 1e-4 * here->report.held_out_before);
  EXPECT_NEAR(there->report.held_out_after, here->report.held_out_after, 1e-2 * here->report.held_out_after);
  EXPECT_EQ(there->vectors, again->vectors) << "bits depend on threads";
}

}  // namespace
}  // namespace sparing
