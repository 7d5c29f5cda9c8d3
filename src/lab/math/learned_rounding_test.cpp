#include "lab/math/learned_rounding.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/rng.h"

namespace sparing::math {
namespace {

IntGroupSpec spec_of(int bits, int group, ZeroKind zero) {
  IntGroupSpec spec;
  spec.bits = bits;
  spec.groups.group = group;
  spec.zero = zero;
  spec.zero_bits = zero == ZeroKind::integer ? bits : 0;
  spec.zero_offset = zero == ZeroKind::constant ? 1 << (bits - 1) : 0;
  return spec;
}

struct Planted {
  std::vector<float> weight;
  IntGrid grid;
};
Planted planted(const IntGroupSpec& spec, std::int64_t rows, std::int64_t cols, ThreadPool& pool) {
  Rng rng(5);
  std::vector<float> weight(static_cast<std::size_t>(rows * cols));
  for (float& w : weight) w = static_cast<float>(0.1 * rng.normal());
  IntGrid grid(spec, rows, cols, Clip::none);
  round_to_nearest(grid, weight, {}, pool);
  return {std::move(weight), std::move(grid)};
}

std::vector<float> values_of(const TrainableWeight& trainable, std::size_t count, ThreadPool& pool) {
  std::vector<float> values(count);
  trainable.values(values, pool);
  return values;
}

constexpr ZeroKind kZeros[] = {ZeroKind::constant, ZeroKind::integer, ZeroKind::f16_min};

// With codes held, values are smooth in scale and minimum: the gradients are those of finite differences.
TEST(LearnedRounding, GradientsOfScalesAreThoseOfFiniteDifferences) {
  ThreadPool pool(1);
  for (const ZeroKind zero : kZeros) {
    const IntGroupSpec spec = spec_of(3, 8, zero);
    const Planted p = planted(spec, 2, 20, pool);  // the last group is ragged
    Rng rng(9);
    std::vector<double> target(p.weight.size());
    for (double& t : target) t = 0.1 * rng.normal();
    const std::int64_t row = 1;
    for (std::int64_t group = 0; group < 3; ++group) {
      const IntGrid::Line line = p.grid.line(row, group);
      const double codes_zero = zero == ZeroKind::f16_min ? 0 : std::round(-line.offset / line.scale);
      // The loss sum of (v - t)^4 of this group, on values computed from a scale and an offset.
      const auto loss = [&](double scale, double offset, std::vector<float>* gradient) {
        double sum = 0;
        for (std::int64_t c = group * 8; c < std::min<std::int64_t>(20, group * 8 + 8); ++c) {
          const auto i = static_cast<std::size_t>(row * 20 + c);
          const double v = scale * (p.grid.code_at(row, c) - codes_zero) + offset, e = v - target[i];
          sum += e * e * e * e;
          if (gradient) (*gradient)[i] = static_cast<float>(4 * e * e * e);
        }
        return sum;
      };
      const double s = line.scale, m = zero == ZeroKind::f16_min ? line.offset : 0, h = 1e-6;
      std::vector<float> gradient(p.weight.size());
      loss(s, m, &gradient);
      const GroupGradient got = group_gradient(p.grid, row, group, gradient);
      const double by_scale = (loss(s + h, m, nullptr) - loss(s - h, m, nullptr)) / (2 * h);
      EXPECT_NEAR(got.scale, by_scale, 1e-4 * std::abs(by_scale) + 1e-7);
      if (zero != ZeroKind::f16_min) continue;
      const double by_offset = (loss(s, m + h, nullptr) - loss(s, m - h, nullptr)) / (2 * h);
      EXPECT_NEAR(got.offset, by_offset, 1e-4 * std::abs(by_offset) + 1e-7);
    }
  }
}

// Straight through: a place rises with the value where the scale is positive, falls where it is negative.
TEST(LearnedRounding, PlacesMoveAgainstTheGradient) {
  ThreadPool pool(1);
  for (const auto moves : {LearnedRoundingOptions::Moves::size, LearnedRoundingOptions::Moves::sign}) {
    for (const ZeroKind zero : kZeros) {
      const Planted p = planted(spec_of(4, 16, zero), 6, 32, pool);
      const std::vector<float> curvature(32, 1.0f);
      for (const float slope : {1.0f, -1.0f}) {
        LearnedRounding learned(p.grid, p.weight, curvature, {.moves = moves, .rate = 1.0, .scale_rate = 0});
        const std::vector<float> before = values_of(learned, p.weight.size(), pool);
        learned.step(std::vector<float>(p.weight.size(), slope), 1.0, pool);
        const std::vector<float> after = values_of(learned, p.weight.size(), pool);
        for (std::size_t i = 0; i < before.size(); ++i) {
          const auto row = static_cast<std::int64_t>(i / 32), column = static_cast<std::int64_t>(i % 32);
          const float step = std::abs(p.grid.line(row, column / 16).scale);
          const int code = p.grid.code_at(row, column);
          const bool at_end = code == 0 || code == 15;
          if (at_end && after[i] == before[i]) continue;
          EXPECT_NEAR(after[i], before[i] - slope * step, 1e-3 * step) << i;
        }
      }
    }
  }
}

TEST(LearnedRounding, CodesToItsValuesToTheBitAndRecallsWhatItKept) {
  for (const ZeroKind zero : kZeros) {
    ThreadPool one(1), three(3);
    const Planted p = planted(spec_of(3, 12, zero), 9, 40, one);
    const std::vector<float> curvature(40, 2.0f);
    const LearnedRoundingOptions options{.rate = 0.3, .scale_rate = 0.01};
    LearnedRounding learned(p.grid, p.weight, curvature, options), threaded(p.grid, p.weight, curvature, options);
    const std::vector<float> start = values_of(learned, p.weight.size(), one);
    EXPECT_EQ(start, values_of(learned, p.weight.size(), three));
    Rng rng(3);
    std::vector<float> gradient(p.weight.size()), kept;
    for (int step = 0; step < 6; ++step) {
      for (float& g : gradient) g = static_cast<float>(rng.normal());
      learned.step(gradient, 1.0 - step / 6.0, one);
      threaded.step(gradient, 1.0 - step / 6.0, three);
      if (step != 2) continue;
      kept = values_of(learned, p.weight.size(), one);
      learned.keep();
    }
    const std::vector<float> end = values_of(learned, p.weight.size(), one);
    EXPECT_EQ(end, values_of(threaded, p.weight.size(), one)) << "other bits with three threads";
    EXPECT_NE(end, start);
    const auto decoded = [&](const TrainableWeight& trainable) {
      const CodedWeight weight = trainable.code().value();
      std::vector<float> values(p.weight.size());
      decode_effective_rows(weight, 0, 9, values.data());
      return values;
    };
    EXPECT_EQ(decoded(learned), end);
    learned.recall();
    EXPECT_EQ(decoded(learned), kept);
    threaded.recall();
    EXPECT_EQ(decoded(threaded), start);
  }
}

TEST(LearnedRounding, ScalesMoveByTheirReachAtMostAndDeadGroupsNotAtAll) {
  ThreadPool pool(1);
  Planted p = planted(spec_of(4, 16, ZeroKind::integer), 3, 32, pool);
  std::fill(p.weight.begin(), p.weight.begin() + 16, 0.0f);  // the first group of the first row
  round_to_nearest(p.grid, p.weight, {}, pool);
  const std::vector<float> curvature(32, 1.0f);
  LearnedRounding learned(p.grid, p.weight, curvature, {.rate = 0.2, .scale_rate = 0.01});
  Rng rng(4);
  std::vector<float> gradient(p.weight.size());
  for (int step = 0; step < 10; ++step) {
    for (float& g : gradient) g = static_cast<float>(rng.normal());
    learned.step(gradient, 1.0, pool);
  }
  const std::vector<float> values = values_of(learned, p.weight.size(), pool);
  for (std::size_t i = 0; i < 16; ++i) EXPECT_EQ(values[i], 0.0f);
  bool moved = false;
  for (std::int64_t g = 1; g < 6; ++g) {
    const float before = p.grid.line(g / 2, g % 2).scale, after = learned.grid().line(g / 2, g % 2).scale;
    EXPECT_LE(std::abs(after / before - 1), 0.101f);
    moved = moved || after != before;
  }
  EXPECT_TRUE(moved);
  // What is not a number moves nothing.
  std::fill(gradient.begin(), gradient.end(), std::numeric_limits<float>::quiet_NaN());
  learned.step(gradient, 1.0, pool);
  for (const float v : values_of(learned, p.weight.size(), pool)) EXPECT_TRUE(std::isfinite(v));
}

// By hand: grid {0, 1, 2, 3}; inputs 1 and 2 are correlated, H_12 = .9. Rounding gives 0 1 2 3 and the loss
// .3^2 + .45^2 + 2 * .9 * .3 * .45 = .5355. Both gradients push up; input 2 crosses first, to 0 1 3 3 with the loss
// .3^2 + .55^2 - 2 * .9 * .3 * .55 = .0955, the least of all 256.
TEST(LearnedRounding, FindsByHandWhatRoundingMisses) {
  ThreadPool pool(1);
  const std::vector<float> weight{0, 1.3f, 2.45f, 3}, curvature(4, 1.0f);
  const double h = 0.9;
  IntGrid grid(spec_of(2, 4, ZeroKind::integer), 1, 4, Clip::none);
  round_to_nearest(grid, weight, {}, pool);
  for (const auto moves : {LearnedRoundingOptions::Moves::sign, LearnedRoundingOptions::Moves::size}) {
    LearnedRounding learned(grid, weight, curvature, {.moves = moves, .rate = 0.1, .scale_rate = 0});
    const auto errors = [&] {
      const std::vector<float> v = values_of(learned, 4, pool);
      return std::pair<double, double>{v[1] - weight[1], v[2] - weight[2]};
    };
    const auto loss = [&] {
      const auto [a, b] = errors();
      return a * a + b * b + 2 * h * a * b;
    };
    double best = loss();
    EXPECT_NEAR(best, 0.5355, 1e-5);
    for (int step = 0; step < 10; ++step) {
      const auto [a, b] = errors();
      const std::vector<float> gradient{0, static_cast<float>(2 * (a + h * b)), static_cast<float>(2 * (b + h * a)), 0};
      learned.step(gradient, 1.0 - step / 10.0, pool);
      if (loss() >= best) continue;
      best = loss();
      learned.keep();
    }
    learned.recall();
    EXPECT_NEAR(loss(), 0.0955, 1e-5);
    EXPECT_EQ(values_of(learned, 4, pool), (std::vector<float>{0, 1, 3, 3}));
  }
}

}  // namespace
}  // namespace sparing::math
