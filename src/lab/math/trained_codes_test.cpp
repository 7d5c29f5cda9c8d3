// Training codes straight through their rounding: where places start, what moves them, and that a state is whole.

#include "lab/math/trained_codes.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "lab/math/continuous.h"
#include "lab/math/grid.h"

namespace sparing {
namespace {

constexpr std::int64_t kRows = 37, kCols = 75;  // ragged panels, blocks and groups

std::vector<float> random_matrix(std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
  Rng rng(seed);
  std::vector<float> values(static_cast<std::size_t>(rows * cols));
  for (float& v : values) v = static_cast<float>(rng.normal());
  return values;
}

CodedWeight rounded(std::span<const float> values, ZeroKind zero) {
  IntGroupSpec spec;
  spec.bits = 3;
  spec.groups.group = 32;
  spec.zero = zero;
  spec.zero_offset = zero == ZeroKind::constant ? 4 : 0;
  if (zero == ZeroKind::integer) spec.zero_bits = 3;
  math::IntGrid grid(spec, kRows, kCols, math::Clip::none);
  ThreadPool pool(1);
  math::round_to_nearest(grid, values, {}, pool);
  CodedWeight weight;
  weight.rows = kRows;
  weight.cols = kCols;
  weight.terms.push_back(grid.pack().value());
  return weight;
}

std::vector<float> decoded(const CodedWeight& weight) {
  std::vector<float> values(static_cast<std::size_t>(weight.rows * weight.cols));
  decode_rows(weight, 0, weight.rows, values.data());
  return values;
}

std::vector<std::uint8_t> codes_of(const CodedWeight& weight) {
  return unpack(weight.terms[0], weight.rows, weight.cols)->codes;
}

void step(math::TrainedCodes& codes, std::span<const float> gradient, float rate) {
  const auto part = [&](std::int64_t row) {
    return gradient.subspan(static_cast<std::size_t>(row * kCols),
                            static_cast<std::size_t>(std::min(codes.kRows, kRows - row) * kCols));
  };
  for (std::int64_t row = 0; row < kRows; row += codes.kRows)
    codes.see(row, std::min(codes.kRows, kRows - row), part(row));
  codes.average();
  for (std::int64_t row = 0; row < kRows; row += codes.kRows)
    codes.move(row, std::min(codes.kRows, kRows - row), part(row), rate);
}

class EveryZero : public ::testing::TestWithParam<ZeroKind> {};
INSTANTIATE_TEST_SUITE_P(TrainedCodes, EveryZero,
                         ::testing::Values(ZeroKind::constant, ZeroKind::integer, ZeroKind::f16_min));

/// || X (W - coded)' ||^2 for inputs that vary together: rounding to nearest is far from the best.
TEST_P(EveryZero, DescendsTowardsBetterCodesThanRoundings) {
  const std::vector<float> wanted = random_matrix(kRows, kCols, 1), mixing = random_matrix(8, kCols, 2);
  math::ContinuousWeight weight = math::ContinuousWeight::make(rounded(wanted, GetParam())).value();
  auto codes = weight.trained_codes();
  ASSERT_TRUE(codes.has_value());
  const auto loss = [&](std::vector<float>* gradient) {
    const std::vector<float> values = decoded(weight.weight());
    double sum = 0;
    if (gradient != nullptr) gradient->assign(values.size(), 0);
    for (std::int64_t r = 0; r < kRows; ++r) {
      for (std::int64_t k = 0; k < 8; ++k) {
        double output = 0;
        for (std::int64_t c = 0; c < kCols; ++c) {
          const auto i = static_cast<std::size_t>(r * kCols + c);
          output += static_cast<double>((values[i] - wanted[i]) * mixing[static_cast<std::size_t>(k * kCols + c)]);
        }
        sum += output * output;
        for (std::int64_t c = 0; gradient != nullptr && c < kCols; ++c)
          (*gradient)[static_cast<std::size_t>(r * kCols + c)] +=
              static_cast<float>(2 * output) * mixing[static_cast<std::size_t>(k * kCols + c)];
      }
    }
    return sum;
  };
  std::vector<float> missing = decoded(weight.weight());
  for (std::size_t i = 0; i < missing.size(); ++i) missing[i] = wanted[i] - missing[i];
  for (std::int64_t row = 0; row < kRows; row += codes->kRows) {
    const std::int64_t count = std::min(codes->kRows, kRows - row);
    codes->start_towards(row, count, std::span(missing).subspan(static_cast<std::size_t>(row * kCols)));
  }
  const std::vector<std::uint8_t> start = codes_of(weight.weight());
  const double before = loss(nullptr);
  std::vector<float> gradient;
  for (int s = 0; s < 300; ++s) {
    loss(&gradient);
    step(*codes, gradient, 0.05f * static_cast<float>(300 - s) / 300);
  }
  EXPECT_LT(loss(nullptr), 0.2 * before);
  EXPECT_TRUE(validate(weight.weight(), true).ok());
  EXPECT_NE(codes_of(weight.weight()), start);
}

TEST(TrainedCodes, StayWhereNothingMovesThem) {
  const std::vector<float> wanted = random_matrix(kRows, kCols, 3);
  math::ContinuousWeight weight = math::ContinuousWeight::make(rounded(wanted, ZeroKind::integer)).value();
  auto codes = weight.trained_codes();
  const std::vector<std::uint8_t> before = codes_of(weight.weight());
  // As far away as can be: the places still round to the codes.
  const std::vector<float> far(wanted.size(), 1e30f), none(wanted.size(), 0.0f);
  for (std::int64_t row = 0; row < kRows; row += codes->kRows)
    codes->start_towards(row, std::min(codes->kRows, kRows - row), far);
  step(*codes, none, 1);
  step(*codes, random_matrix(kRows, kCols, 4), 0);
  EXPECT_EQ(codes_of(weight.weight()), before);
}

TEST(TrainedCodes, MoveAgainstTheGradientWhateverTheScalesSignAndEndAtTheLastCode) {
  math::ContinuousWeight weight =
      math::ContinuousWeight::make(rounded(random_matrix(kRows, kCols, 5), ZeroKind::constant)).value();
  auto codes = weight.trained_codes();
  const std::vector<float> before = decoded(weight.weight()), up(before.size(), -1.0f);
  for (int s = 0; s < 100; ++s) step(*codes, up, 0.5f);
  const std::vector<float> after = decoded(weight.weight());
  for (std::size_t i = 0; i < before.size(); ++i) EXPECT_GE(after[i], before[i]);
  step(*codes, up, 0.5f);
  EXPECT_EQ(decoded(weight.weight()), after);
}

TEST(TrainedCodes, AStateIsWhole) {
  const std::vector<float> wanted = random_matrix(kRows, kCols, 6);
  const CodedWeight coded = rounded(wanted, ZeroKind::integer);
  math::ContinuousWeight a = math::ContinuousWeight::make(coded).value(),
                         b = math::ContinuousWeight::make(coded).value();
  auto first = a.trained_codes(), second = b.trained_codes();
  for (int s = 0; s < 5; ++s) step(*first, random_matrix(kRows, kCols, 10 + static_cast<std::uint64_t>(s)), 0.2f);
  std::string state, kept;
  first->append_state(state);
  EXPECT_EQ(state.size(), first->state_size());
  second->take_state(state + "more");
  EXPECT_EQ(codes_of(a.weight()), codes_of(b.weight()));
  first->append_codes(kept);
  for (auto* codes : {&*first, &*second}) step(*codes, random_matrix(kRows, kCols, 20), 0.2f);
  EXPECT_EQ(codes_of(a.weight()), codes_of(b.weight()));
  const std::vector<std::uint8_t> now = codes_of(a.weight());
  first->take_codes(kept);
  EXPECT_NE(codes_of(a.weight()), now);
}

TEST(TrainedCodes, OtherCodingsHaveNone) {
  math::ContinuousWeight dense =
      math::ContinuousWeight::make(dense_weight(1, 2, DType::f32, Blob::of(Buffer(8)))).value();
  EXPECT_FALSE(dense.trained_codes().has_value());
}

}  // namespace
}  // namespace sparing
