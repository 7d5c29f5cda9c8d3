// Block reconstruction: its gradients, what it keeps, and that calibration trains what the coder gives out.

#include "lab/reconstruct.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "base/rng.h"
#include "lab/calibrate.h"
#include "lab/math/learned_rounding.h"
#include "runtime/test_model.h"

namespace sparing {
namespace {

using lab::ActivationMatrix;
using testing::FormulaCheckpoint;

std::vector<float> original_of(const Checkpoint& checkpoint, const std::string& site) {
  const CodedWeight weight = checkpoint.weight(site).value();
  std::vector<float> values(static_cast<std::size_t>(weight.rows * weight.cols));
  decode_effective_rows(weight, 0, weight.rows, values.data());
  return values;
}

std::unique_ptr<math::LearnedRounding> rounded(const Checkpoint& checkpoint, const std::string& site) {
  ThreadPool pool(1);
  const CodedWeight weight = checkpoint.weight(site).value();
  IntGroupSpec spec;
  spec.bits = 3;
  spec.groups.group = 16;
  spec.zero = ZeroKind::f16_min;
  spec.zero_offset = 0;
  math::IntGrid grid(spec, weight.rows, weight.cols, math::Clip::none);
  const std::vector<float> values = original_of(checkpoint, site),
                           curvature(static_cast<std::size_t>(weight.cols), 1.0f);
  math::round_to_nearest(grid, values, {}, pool);
  return std::make_unique<math::LearnedRounding>(
      std::move(grid), values, curvature,
      math::LearnedRoundingOptions{
          .moves = math::LearnedRoundingOptions::Moves::sign, .rate = 0.04, .scale_rate = 0.004});
}

/// Block 1 of the tiny model on random inputs, to give what the original gives.
struct Fixture {
  Fixture() {
    Rng rng(2);
    for (std::size_t s = 0; s < 6; ++s) sequences.emplace_back(s == 2 ? 9 : 24, Token{1});
    text = lab::prepare_text(sequences, model.config).value();
    input = pool.make(text.tokens(), model.config.hidden).value();
    target = pool.make(text.tokens(), model.config.hidden).value();
    for (std::int64_t i = 0; i < input.rows() * input.width(); ++i)
      input.row(0)[i] = static_cast<float>(rng.normal() + (i % 64 == 3 ? 2.0 : 0.0));
    fixed = lab::load_weights(checkpoint, block(), 0, block().ops.size(), at::kFloat).value();
    for (std::size_t s = 0; s < sequences.size(); ++s) {
      const std::int64_t row = text.offsets[s], length = text.offsets[s + 1] - row;
      lab::RunOptions how;
      how.rms_eps = text.rms_eps;
      how.rotation = text.rotations.at(length);
      lab::Values values(block().widths.size());
      at::Tensor& x = values[static_cast<std::size_t>(block().input)];
      x = lab::decode(checkpoint.weight("layers.1.attn.o").value()).new_empty({length, 64});
      std::copy_n(input.row(row), length * 64, x.data_ptr<float>());
      lab::run(block(), 0, block().ops.size(), fixed, how, values, true);
      const at::Tensor y = values[static_cast<std::size_t>(block().output)].contiguous();
      std::copy_n(y.data_ptr<float>(), length * 64, target.row(row));
    }
  }
  const Graph& block() const { return model.blocks[1]; }
  Result<lab::ReconstructionReport> train(const std::map<std::string, TrainableWeight*>& sites,
                                          const TrainingSchedule& schedule, int threads = 2) const {
    ThreadPool threads_pool(threads);
    return lab::reconstruct({.text = text,
                             .block = block(),
                             .fixed = fixed,
                             .input = input,
                             .target = target,
                             .sites = sites,
                             .schedule = schedule},
                            threads_pool);
  }

  FormulaCheckpoint checkpoint{testing::tiny_config()};
  ModelGraph model = build_graph(checkpoint.config()).value();
  std::vector<std::vector<Token>> sequences;
  lab::CalibrationText text;
  lab::ActivationPool pool{0, {}};
  ActivationMatrix input, target;
  lab::Weights fixed;
};

constexpr const char* kSites[] = {"layers.1.attn.q", "layers.1.attn.k",   "layers.1.attn.v",  "layers.1.attn.o",
                                  "layers.1.mlp.up", "layers.1.mlp.gate", "layers.1.mlp.down"};

TrainingSchedule schedule_of(std::int64_t steps, TrainingSchedule::Loss loss = TrainingSchedule::Loss::relative) {
  TrainingSchedule s;
  s.steps = steps;
  s.batch = 3;
  s.checks = 3;
  s.loss = loss;
  s.products = TrainingSchedule::Products::f32;
  s.seed = 4;
  return s;
}

TEST(Reconstruct, TrainingLowersTheErrorAndBitsDoNotDependOnThreads) {
  const Fixture f;
  for (const auto products : {TrainingSchedule::Products::f32, TrainingSchedule::Products::bf16}) {
    std::vector<std::vector<float>> results[2];
    double after[2];
    for (const int run : {0, 1}) {
      std::map<std::string, std::unique_ptr<math::LearnedRounding>> learned;
      std::map<std::string, TrainableWeight*> sites;
      for (const char* site : kSites) {
        learned[site] = rounded(f.checkpoint, site);
        sites[site] = learned[site].get();
      }
      TrainingSchedule schedule = schedule_of(24);
      schedule.products = products;
      const auto report = f.train(sites, schedule, run == 0 ? 1 : 3);
      ASSERT_TRUE(report.ok()) << report.error().message;
      EXPECT_LT(report->after, 0.8 * report->before);
      EXPECT_GT(report->kept_step, 0);
      EXPECT_FALSE(report->diverged);
      after[run] = report->after;
      ThreadPool pool(1);
      for (const char* site : kSites) {
        std::vector<float> values(original_of(f.checkpoint, site).size());
        sites[site]->values(values, pool);
        results[run].push_back(std::move(values));
      }
    }
    EXPECT_EQ(after[0], after[1]);
    EXPECT_EQ(results[0], results[1]);
  }
}

/// The original, shifted at one place, that keeps the first gradient it is given.
class Probe final : public TrainableWeight {
 public:
  Probe(std::vector<float> values, std::size_t at, float shift) : now_(std::move(values)) { now_[at] += shift; }
  void values(std::span<float> out, ThreadPool&) const override { std::copy(now_.begin(), now_.end(), out.begin()); }
  void step(std::span<const float> gradient, double left, ThreadPool&) override {
    if (first.empty()) first.assign(gradient.begin(), gradient.end());
    lefts.push_back(left);
    if (blow_up)
      for (float& v : now_) v *= 1e30f;
  }
  void keep() override { ++kept; }
  void recall() override { ++recalled; }
  Result<CodedWeight> code() const override { return internal_error("not asked for"); }
  std::vector<float> first;
  std::vector<double> lefts;
  int kept = 0, recalled = 0;
  bool blow_up = false;

 private:
  std::vector<float> now_;
};

TEST(Reconstruct, GradientsAreThoseOfFiniteDifferences) {
  const Fixture f;
  for (const auto loss : {TrainingSchedule::Loss::relative, TrainingSchedule::Loss::plain}) {
    for (const std::string site : {"layers.1.attn.k", "layers.1.mlp.down"}) {
      const std::vector<float> original = original_of(f.checkpoint, site);
      TrainingSchedule schedule = schedule_of(1, loss);
      schedule.batch = 6;  // the whole text: the loss that is reported
      constexpr std::size_t kAt = 130;
      const auto loss_at = [&](float shift, std::vector<float>* gradient) {
        Probe probe(original, kAt, shift);
        const auto report = f.train({{site, &probe}}, schedule);
        EXPECT_TRUE(report.ok());
        if (gradient) *gradient = probe.first;
        return report->before;
      };
      std::vector<float> gradient;
      const float here = 0.2f, h = 0.02f;
      loss_at(here, &gradient);
      const double slope = (loss_at(here + h, nullptr) - loss_at(here - h, nullptr)) / (2.0 * h);
      // Reported losses are divided by the target's: the sum that is differentiated is larger by that much.
      double whole = 0;
      for (std::int64_t i = 0; i < f.target.rows() * 64; ++i)
        whole += static_cast<double>(f.target.row(0)[i]) * f.target.row(0)[i];
      if (loss == TrainingSchedule::Loss::relative) whole = static_cast<double>(f.text.tokens());
      EXPECT_NEAR(gradient[kAt], slope * whole, 0.02 * std::abs(slope * whole)) << site;
    }
  }
}

TEST(Reconstruct, ADivergingRunEndsAtItsBestState) {
  const Fixture f;
  const std::string site = "layers.1.mlp.up";
  Probe probe(original_of(f.checkpoint, site), 7, 0.5f);
  probe.blow_up = true;
  const auto report = f.train({{site, &probe}}, schedule_of(9));
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_TRUE(report->diverged);
  EXPECT_EQ(report->kept_step, 0);
  EXPECT_EQ(report->after, report->before);
  EXPECT_EQ(probe.kept, 0);
  EXPECT_EQ(probe.recalled, 1);
  EXPECT_EQ(probe.lefts.size(), 3u) << "it was measured after 3 of 9 steps";
}

TEST(Reconstruct, AStartThatIsNotFiniteIsAnError) {
  const Fixture f;
  Probe probe(original_of(f.checkpoint, "layers.1.mlp.up"), 7, std::numeric_limits<float>::infinity());
  const auto report = f.train({{"layers.1.mlp.up", &probe}}, schedule_of(2));
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().kind, ErrorKind::input);
  EXPECT_NE(report.error().message.find("layers.1.mlp.up"), std::string::npos);
}

/// Rounds every linear weight of a block and trains it; keeps the rest.
class TrainingCoder : public SiteCoder {
 public:
  explicit TrainingCoder(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}
  const CodedWeight* finished(const std::string& site) override {
    const auto found = earlier.find(site);
    return found == earlier.end() ? nullptr : &found->second;
  }
  bool wants_statistics(const std::string&) const override { return false; }
  Result<CodedWeight> code(const std::string& site, const Statistics*) override {
    if (!site.starts_with("layers.")) return coded[site] = checkpoint_.weight(site).value();
    learned_[site] = rounded(checkpoint_, site);
    return coded[site] = learned_[site]->code().value();
  }
  TrainingSchedule schedule(const std::string& block) const override {
    TrainingSchedule schedule = schedule_of(6);
    schedule.target = target;
    schedule.seed = block.size() + static_cast<std::size_t>(block.back());
    return schedule;
  }
  TrainableWeight* trainable(const std::string& site) override {
    const auto found = learned_.find(site);
    return found == learned_.end() ? nullptr : found->second.get();
  }
  Result<CodedWeight> trained(const std::string& site, const std::string& report) override {
    reports.insert(report);
    return coded[site] = learned_.at(site)->code().value();
  }
  Status finish_block(const std::string& block) override {
    blocks.push_back(block);
    learned_.clear();
    return {};
  }
  TrainingSchedule::Target target = TrainingSchedule::Target::original;
  std::map<std::string, CodedWeight> earlier, coded;
  std::set<std::string> reports;
  std::vector<std::string> blocks;

 private:
  const Checkpoint& checkpoint_;
  std::map<std::string, std::unique_ptr<math::LearnedRounding>> learned_;
};

std::vector<std::byte> bytes_of(const std::map<std::string, CodedWeight>& weights) {
  std::vector<std::byte> all;
  for (const auto& [site, weight] : weights)
    for (const Term& term : weight.terms) all.insert(all.end(), term.blob.bytes.begin(), term.blob.bytes.end());
  return all;
}

TEST(Reconstruct, CalibrationTrainsEveryBlockTheSameWayOnAnyThreadsAndAfterAResume) {
  const FormulaCheckpoint checkpoint(testing::tiny_config());
  Rng rng(6);
  std::vector<std::vector<Token>> sequences(5);
  for (auto& sequence : sequences)
    for (int i = 0; i < 30; ++i) sequence.push_back(static_cast<Token>(rng.below(97)));
  std::vector<std::byte> by_target[2];
  for (const auto target : {TrainingSchedule::Target::original, TrainingSchedule::Target::block}) {
    const auto run = [&](TrainingCoder& coder, const CalibrationOptions& options) {
      coder.target = target;
      const Status status = calibrate(checkpoint, sequences, options, coder);
      ASSERT_TRUE(status.ok()) << status.error().message;
    };
    TrainingCoder plain(checkpoint), threaded(checkpoint), resumed(checkpoint);
    run(plain, {.threads = 1});
    EXPECT_EQ(plain.reports.size(), 3u) << "one for each block";
    EXPECT_EQ(plain.blocks, (std::vector<std::string>{"embed", "layers.0", "layers.1", "layers.2", "head"}));
    run(threaded, {.threads = 3, .max_ram = 50'000});
    EXPECT_EQ(bytes_of(plain.coded), bytes_of(threaded.coded));
    for (const auto& [site, weight] : plain.coded)
      if (site == "embed" || site.starts_with("layers.0") || site.starts_with("layers.1"))
        resumed.earlier[site] = weight;
    run(resumed, {.threads = 2});
    EXPECT_EQ(resumed.blocks, (std::vector<std::string>{"layers.2", "head"}));
    for (const auto& [site, weight] : resumed.coded)
      EXPECT_EQ(bytes_of({{site, weight}}), bytes_of({{site, plain.coded.at(site)}})) << site;
    by_target[target == TrainingSchedule::Target::block] = bytes_of(plain.coded);
  }
  EXPECT_NE(by_target[0], by_target[1]);
}

}  // namespace
}  // namespace sparing
