// The continuous part of every coding: gradients by finite differences, what is stored, and Adam by hand.

#include "lab/math/continuous.h"

#include <gtest/gtest.h>

#include <cmath>

#include "codecs/random_weights.h"
#include "codecs/transform.h"
#include "lab/math/adam.h"

namespace sparing {
namespace {

constexpr std::int64_t kRows = 19, kCols = 75;

std::vector<float> effective(const CodedWeight& weight) {
  std::vector<float> values(static_cast<std::size_t>(weight.rows * weight.cols));
  decode_effective_rows(weight, 0, weight.rows, values.data());
  return values;
}

CodedWeight of_terms(std::vector<Term> terms, Transform input = {}) {
  CodedWeight weight;
  weight.rows = kRows;
  weight.cols = kCols;
  weight.input = std::move(input);
  weight.terms = std::move(terms);
  return weight;
}

double dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

/// A loss that is linear in the values: its derivatives by parameters are exact differences, of any size.
void check_gradient(const CodedWeight& weight, const std::string& what) {
  SCOPED_TRACE(what);
  math::ContinuousWeight trained = math::ContinuousWeight::make(weight).value();
  EXPECT_EQ(effective(trained.weight()), effective(weight));
  Rng rng(3);
  std::vector<float> by_value(static_cast<std::size_t>(kRows * kCols));
  for (float& g : by_value) g = static_cast<float>(rng.normal());
  std::vector<float> by_parameter(static_cast<std::size_t>(trained.size()));
  // In two parts, as rows come.
  const std::span<const float> all(by_value);
  trained.add_gradient(0, 7, all.first(7 * kCols), by_parameter);
  trained.add_gradient(7, kRows - 7, all.subspan(7 * kCols), by_parameter);
  const std::vector<float> start = trained.parameters(), units = trained.units();
  ASSERT_EQ(units.size(), start.size());
  for (int probe = 0; probe < 6; ++probe) {
    const auto i = static_cast<std::size_t>(rng.below(start.size()));
    std::vector<float> up = start, down = start;
    up[i] *= 2;  // exact in f16
    down[i] = 0;
    trained.set(up);
    const double above = dot(by_value, effective(trained.weight()));
    trained.set(down);
    const double below = dot(by_value, effective(trained.weight()));
    const double expected = above - below,
                 got = static_cast<double>(by_parameter[i]) * 2.0 * static_cast<double>(start[i]);
    EXPECT_NEAR(got, expected, 2e-4 * (1 + std::abs(expected))) << "parameter " << i;
    EXPECT_GE(units[i], 0.0f);
  }
  trained.set(start);
  EXPECT_EQ(effective(trained.weight()), effective(weight)) << "the start comes back to the bit";
}

TEST(Continuous, EveryIntGroupHasTheGradientOfItsDecoding) {
  std::uint64_t seed = 0;
  for (const IntGroupSpec& spec : testing::int_group_zoo())
    check_gradient(of_terms({testing::random_term(spec, kRows, kCols, ++seed)}), describe(CodecSpec(spec)));
}

TEST(Continuous, TablesSparseTermsAndTransforms) {
  LutGroupSpec lut;
  lut.bits = 3;
  lut.groups.group = 32;
  lut.table = {-4, -2, -1, 0, 1, 2, 4, 7};
  check_gradient(of_terms({testing::random_term(lut, kRows, kCols, 5)}), "lut_group");
  IntGroupSpec spec;
  spec.bits = 3;
  spec.groups.group = 32;
  const Term base = testing::random_term(spec, kRows, kCols, 6);
  check_gradient(of_terms({base, testing::random_csr(kRows, kCols, 0.2, 7)}), "int_group and csr");
  std::vector<std::uint32_t> order(kCols);
  for (std::uint32_t i = 0; i < kCols; ++i) order[i] = (i * 31 + 4) % kCols;
  check_gradient(of_terms({base}, permutation_transform(order).value()), "permutation");
  std::vector<std::uint16_t> diagonal;
  for (std::int64_t i = 0; i < kCols; ++i) diagonal.push_back(f32_to_f16(0.5f + static_cast<float>(i) / 32));
  check_gradient(of_terms({base}, diagonal_transform(diagonal).value()), "diagonal");
}

TEST(Continuous, FactorsWithAndWithoutSigns) {
  const IntGroupSpec spec{.bits = 3, .groups = {.group = 32}};
  const Term base = testing::random_term(spec, kRows, kCols, 6);
  for (const LowRankSpec& factors : testing::lowrank_zoo(kRows, kCols)) {
    const std::string what = describe(CodecSpec(factors));
    check_gradient(of_terms({base, testing::random_lowrank(factors, kRows, kCols, 8)}), what);
    check_gradient(of_terms({testing::random_sign_lowrank({factors}, kRows, kCols, 9),
                             testing::random_sign_lowrank({factors}, kRows, kCols, 10)}),
                   "signs, " + what);
  }
}

TEST(Continuous, AFactorsValueMovesByItsComponentsSize) {
  const LowRankSpec factors{.rank = 2, .inner = {16, 0}, .outer = {16, 0}};
  const math::ContinuousWeight trained =
      math::ContinuousWeight::make(of_terms({testing::random_lowrank(factors, kRows, kCols, 8)})).value();
  const std::vector<float> start = trained.parameters(), units = trained.units();
  ASSERT_EQ(start.size(), static_cast<std::size_t>(2 * (kRows + kCols)));
  for (std::size_t i = 0; i < kCols; ++i) EXPECT_EQ(units[i], units[0]);
  EXPECT_NE(units[0], units[kCols]);
  double squares = 0;
  for (std::size_t i = 0; i < kCols; ++i) squares += static_cast<double>(start[i]) * static_cast<double>(start[i]);
  EXPECT_NEAR(units[0], std::sqrt(squares / kCols), 1e-6);
}

TEST(Continuous, StoresTheNearestF16WithinItsRange) {
  IntGroupSpec spec;
  spec.groups.group = 32;
  math::ContinuousWeight trained =
      math::ContinuousWeight::make(of_terms({testing::random_term(spec, kRows, kCols, 1)})).value();
  std::vector<float> parameters = trained.parameters();
  parameters[0] = 1e9f;
  parameters[1] = 1.00001f;
  trained.set(parameters);
  EXPECT_EQ(trained.parameters()[0], 65504.0f);
  EXPECT_EQ(trained.parameters()[1], 1.0f);
  EXPECT_TRUE(validate(trained.weight(), true).ok());
}

TEST(Continuous, ADenseWeightHasNothingToTrain) {
  const math::ContinuousWeight dense =
      math::ContinuousWeight::make(of_terms({testing::random_dense(DType::f16, kRows, kCols, 1)})).value();
  EXPECT_EQ(dense.size(), 0);
}

TEST(Continuous, AMinimumMovesByHalfItsGroupsSpan) {
  IntGroupSpec spec;
  spec.bits = 2;
  spec.groups.group = 32;
  spec.zero = ZeroKind::f16_min;
  spec.zero_offset = 0;
  const math::ContinuousWeight trained =
      math::ContinuousWeight::make(of_terms({testing::random_term(spec, kRows, kCols, 1)})).value();
  const std::vector<float> start = trained.parameters(), units = trained.units();
  const auto scales = static_cast<std::size_t>(kRows * 3);
  ASSERT_EQ(start.size(), 2 * scales);
  for (std::size_t i = 0; i < scales; ++i) {
    EXPECT_EQ(units[i], std::abs(start[i]));
    EXPECT_EQ(units[scales + i], std::abs(start[i]) * 1.5f);
  }
}

TEST(Adam, TwoStepsByHand) {
  math::Adam adam(2, {.beta1 = 0.5, .beta2 = 0.75, .epsilon = 0});
  std::vector<float> parameter{10, 10};
  const std::vector<float> unit{2, 0.5}, first{1, -4}, second{3, 0};
  adam.begin_step();
  adam.step(0, first, 1, unit, 0.1, parameter);
  // Relative gradients 2 and -2: corrected moments are the gradient and its square, so each moves by rate * unit.
  EXPECT_FLOAT_EQ(parameter[0], 10 - 0.1f * 2);
  EXPECT_FLOAT_EQ(parameter[1], 10 + 0.1f * 0.5f);
  adam.begin_step();
  adam.step(0, second, 1, unit, 0.1, parameter);
  // Second: gradients 6 and 0. m = .5 * 1 + .5 * 6 = 3.5 over .75; v = .75 * 1 + .25 * 36 = 9.75 over .4375.
  EXPECT_NEAR(parameter[0], 9.8 - 0.1 * 2 * (3.5 / 0.75) / std::sqrt(9.75 / 0.4375), 1e-5);
  EXPECT_NEAR(parameter[1], 10.05 + 0.1 * 0.5 * (0.5 / 0.75) / std::sqrt(0.75 / 0.4375), 1e-5);
  EXPECT_NEAR(math::relative_norm(first, unit), std::sqrt(8.0), 1e-12);
}

TEST(Adam, ScalingEveryGradientChangesNothing) {
  std::vector<float> a{1, 2}, b{1, 2};
  const std::vector<float> unit{1, 1}, gradient{0.25, -3};
  math::Adam one(2, {}), other(2, {});
  for (int step = 0; step < 5; ++step) {
    one.begin_step();
    one.step(0, gradient, 1, unit, 0.01, a);
    other.begin_step();
    other.step(0, gradient, 1024, unit, 0.01, b);
  }
  EXPECT_FLOAT_EQ(a[0], b[0]);
  EXPECT_FLOAT_EQ(a[1], b[1]);
}

TEST(AdamDirections, TwoStepsByHand) {
  math::AdamDirections directions(2);
  directions.begin_step();
  EXPECT_NEAR(directions.of(0, -1e-6), -1, 1e-6);  // the first is a sign, whatever the size
  EXPECT_EQ(directions.of(1, 0), 0);
  directions.begin_step();
  // m = .9 * -.1 + .1 * 2 = .11 over .19; v = .95 * .05 + .05 * 4 = .2475 over .0975, in units of 1e-6 and its square.
  EXPECT_NEAR(directions.of(0, 2e-6), (0.11 / 0.19) / std::sqrt(0.2475 / 0.0975), 1e-6);
  EXPECT_EQ(directions.of(1, 0), 0);
}

}  // namespace
}  // namespace sparing
