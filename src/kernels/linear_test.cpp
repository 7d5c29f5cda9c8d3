#include "kernels/linear.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/testing.h"
#include "codecs/random_weights.h"
#include "codecs/transform.h"
#include "kernels/isa.h"

namespace sparing::kernels {
namespace {

using sparing::testing::int_group_zoo;
using sparing::testing::lowrank_zoo;
using sparing::testing::random_csr;
using sparing::testing::random_dense;
using sparing::testing::random_int_rows;
using sparing::testing::random_lowrank;
using sparing::testing::random_sign_lowrank;
using sparing::testing::random_term;
using sparing::testing::random_ternary;
using sparing::testing::vq_additive_zoo;

CodedWeight weight_of(std::int64_t rows, std::int64_t cols, std::vector<Term> terms) {
  CodedWeight w;
  w.rows = rows;
  w.cols = cols;
  w.terms = std::move(terms);
  return w;
}

using testkit::normals;

std::vector<float> multiply(const CodedWeight& w, Precision precision, const std::vector<float>& x, std::int64_t tokens,
                            const std::vector<float>& bias, ThreadPool& pool) {
  auto linear = Linear::prepare(w, precision);
  EXPECT_TRUE(linear.ok()) << (linear.ok() ? "" : linear.error().message);
  Workspace workspace;
  std::vector<float> y(static_cast<std::size_t>(tokens * w.rows), -1.0f);
  const Product product{&*linear, y.data(), w.rows, bias.empty() ? nullptr : bias.data()};
  matmul({&product, 1}, x.data(), tokens, w.cols, workspace, pool);
  return y;
}

/// Restores the choice of instruction set when a test ends.
struct WithIsa {
  explicit WithIsa(Isa isa) : before(chosen_isa()) { EXPECT_TRUE(choose_isa(name_of(isa)).ok()); }
  ~WithIsa() { EXPECT_TRUE(choose_isa(name_of(before)).ok()); }
  Isa before;
};

/// The activations as the integer kernels see them, from the reference quantisers.
std::vector<double> dequantised(Precision precision, const std::vector<float>& x, std::int64_t tokens,
                                std::int64_t cols) {
  if (precision == Precision::f32) return {x.begin(), x.end()};
  const std::int64_t blocks = (cols + 31) / 32;
  std::vector<Q8Block> q(static_cast<std::size_t>(blocks));
  std::vector<Q16Block> wide(static_cast<std::size_t>((cols + kWideInputs - 1) / kWideInputs));
  std::vector<double> out;
  for (std::int64_t t = 0; t < tokens; ++t) {
    reference_kernels.quantise_wide(x.data() + t * cols, 1, cols, cols, 0, wide.data());
    reference_kernels.quantise(x.data() + t * cols, 1, cols, cols, 0, q.data());
    for (std::int64_t c = 0; c < cols; ++c) {
      const Q8Block& b = q[static_cast<std::size_t>(c / 32)];
      const Q16Block& w = wide[static_cast<std::size_t>(c / kWideInputs)];
      const int code = 256 * w.high[0][c % kWideInputs] + w.low[0][c % kWideInputs];
      out.push_back(precision == Precision::int8 ? static_cast<double>(b.codes[0][c % 32]) * b.scale[0]
                                                 : static_cast<double>(code) * wide[0].scale[0]);
    }
  }
  return out;
}

/// y against doubles. The bound: n roundings of partial sums, each at most sum |w x| in size.
void expect_near_doubles(const CodedWeight& w, const std::vector<float>& decoded, const std::vector<double>& seen,
                         const std::vector<float>& bias, const std::vector<float>& y) {
  for (std::size_t i = 0; i < y.size(); ++i) {
    const std::size_t t = i / static_cast<std::size_t>(w.rows), r = i % static_cast<std::size_t>(w.rows),
                      cols = static_cast<std::size_t>(w.cols);
    double sum = bias[r], size = std::fabs(sum);
    for (std::size_t c = 0; c < cols; ++c) {
      const double a = seen[t * cols + c];
      sum += decoded[r * cols + c] * a;
      // Zero points and minima are summed apart: their size counts as well.
      size += (std::fabs(decoded[r * cols + c]) + 3) * std::fabs(a);
    }
    EXPECT_NEAR(y[i], sum, size * static_cast<double>(cols) * 0x1p-24) << describe(w.terms[0].spec);
  }
}

TEST(Reference, AgreesWithDoublesOverTheDecodedWeights) {
  const WithIsa isa(Isa::reference);
  ThreadPool pool(1);
  const std::int64_t rows = 18, cols = 211, tokens = 2;
  const auto x = normals(tokens * cols, 1), bias = normals(rows, 2);
  std::vector<Term> bases;
  for (const auto& spec : int_group_zoo()) bases.push_back(random_term(spec, rows, cols, 3));
  bases.push_back(random_term(LutGroupSpec{2, {.group = 32}, {-127, -3, 8, 127}}, rows, cols, 4));
  bases.push_back(random_term(LutGroupSpec{2, {.group = 16}, {-1, -0.25f, 0.25f, 1}}, rows, cols, 5));
  for (const auto& spec : vq_additive_zoo()) bases.push_back(random_term(spec, rows, cols, 8));
  bases.push_back(random_ternary(rows, cols, 0.885, 9));
  for (const DType t : {DType::f32, DType::f16, DType::bf16}) bases.push_back(random_dense(t, rows, cols, 6));
  bases.push_back(random_csr(rows, cols, 0.2, 7));
  for (const LowRankSpec& spec : lowrank_zoo(rows, cols)) {
    bases.push_back(random_lowrank(spec, rows, cols, 8));
    bases.push_back(random_sign_lowrank({spec}, rows, cols, 9));
  }
  for (const Term& base : bases)
    for (const Precision precision : {Precision::int8, Precision::int16, Precision::f32}) {
      const CodedWeight w = weight_of(rows, cols, {base});
      const auto* lut = std::get_if<LutGroupSpec>(&base.spec);
      const bool integer = lut != nullptr || std::holds_alternative<IntGroupSpec>(base.spec) ||
                           std::holds_alternative<VqAdditiveSpec>(base.spec);
      const auto seen = dequantised(integer ? precision : Precision::f32, x, tokens, cols);
      const auto y = multiply(w, precision, x, tokens, bias, pool);
      std::vector<float> decoded(static_cast<std::size_t>(rows * cols));
      decode_rows(w, 0, rows, decoded.data());
      if (lut != nullptr && lut->table[0] == -1 && precision != Precision::f32) {
        // What kernels take a table for: steps of a 127th of its largest entry, 1.
        const IntGroupParts parts = *unpack(base, rows, cols);
        for (std::size_t i = 0; i < decoded.size(); ++i)
          decoded[i] = f16_to_f32(parts.scale_f16[i / 211 * 14 + i % 211 / 16]) / 127.0f *
                       std::nearbyint(lut->table[parts.codes[i]] * 127.0f);
      }
      expect_near_doubles(w, decoded, seen, bias, y);
    }
}

TEST(Quantise, TiesExtremesAndNonFinite) {
  for (const Isa isa : available_isas()) {
    const KernelSet& set = kernels_of(isa);
    std::vector<float> x = normals(33 * 19, 5);
    const float inf = std::numeric_limits<float>::infinity();
    for (int i = 0; i < 32; ++i) x[static_cast<std::size_t>(i)] = static_cast<float>(i - 5) + 0.5f;  // 127 * ties
    x[31] = 127.0f;
    x[33 + 4] = inf;
    x[2 * 33 + 4] = std::nanf("");
    for (int i = 0; i < 32; ++i) x[static_cast<std::size_t>(3 * 33 + i)] = 1e-40f;
    for (int i = 0; i < 32; ++i) x[static_cast<std::size_t>(4 * 33 + i)] = (i % 2 == 0 ? 3.4e38f : -3.4e38f);
    for (int i = 0; i < 32; ++i) x[static_cast<std::size_t>(5 * 33 + i)] = -0.0f;
    for (std::int64_t tile = 0; tile < 2; ++tile) {
      std::vector<Q8Block> a(2), b(2);
      std::memset(static_cast<void*>(a.data()), 0, 2 * sizeof(Q8Block));
      std::memset(static_cast<void*>(b.data()), 0, 2 * sizeof(Q8Block));
      reference_kernels.quantise(x.data(), 19, 33, 33, tile, a.data());
      set.quantise(x.data(), 19, 33, 33, tile, b.data());
      for (int k = 0; k < 2; ++k)
        for (int t = 0; t < (tile == 0 ? 16 : 3); ++t) {
          const Q8Block &p = a[static_cast<std::size_t>(k)], &q = b[static_cast<std::size_t>(k)];
          EXPECT_EQ(std::memcmp(p.codes[t], q.codes[t], 32), 0) << name_of(isa) << " token " << t;
          EXPECT_TRUE(p.scale[t] == q.scale[t] || (std::isnan(p.scale[t]) && std::isnan(q.scale[t])));
          for (int s = 0; s < 3; ++s)
            EXPECT_TRUE(p.scaled_sum[s][t] == q.scaled_sum[s][t] || std::isnan(p.scaled_sum[s][t]));
        }
    }
  }
  Q8Block q;
  const float tie[2] = {0.5f, 127.0f};
  reference_kernels.quantise(tie, 1, 2, 2, 0, &q);
  EXPECT_EQ(q.codes[0][0], 0);
  EXPECT_EQ(q.codes[0][1], 127);
  EXPECT_EQ(q.scale[0], 1.0f);
}

// Codes are within half a step of what they stand for, low and high bytes give them back, and sums are theirs.
TEST(QuantiseWide, EveryIsaGivesTheReferencesCodes) {
  constexpr std::int64_t kCols = 150, kTokens = 19;
  for (const Isa isa : available_isas()) {
    std::vector<float> x = normals(kCols * kTokens, 5);
    for (int i = 0; i < 64; ++i) x[static_cast<std::size_t>(i)] = static_cast<float>(i - 5) + 0.5f;  // ties
    x[149] = 32512.0f;
    x[150 + 149] = std::numeric_limits<float>::infinity();
    x[300 + 3] = std::nanf("");
    for (std::size_t i = 450; i < 600; ++i) x[i] = 1e-40f;
    for (std::size_t i = 600; i < 750; ++i) x[i] = i % 2 == 0 ? 3.4e38f : -3.4e38f;
    for (std::size_t i = 750; i < 900; ++i) x[i] = -0.0f;
    for (std::int64_t tile = 0; tile < 2; ++tile) {
      std::vector<Q16Block> a(3), b(3);
      reference_kernels.quantise_wide(x.data(), kTokens, kCols, kCols, tile, a.data());
      kernels_of(isa).quantise_wide(x.data(), kTokens, kCols, kCols, tile, b.data());
      for (std::int64_t t = 0; t < std::min<std::int64_t>(16, kTokens - 16 * tile); ++t) {
        EXPECT_TRUE(a[0].scale[t] == b[0].scale[t] || (std::isnan(a[0].scale[t]) && std::isnan(b[0].scale[t])));
        for (std::size_t k = 0; k < 3; ++k) {
          EXPECT_EQ(std::memcmp(a[k].high[t], b[k].high[t], kWideInputs), 0) << name_of(isa) << " token " << t;
          EXPECT_EQ(std::memcmp(a[k].low[t], b[k].low[t], kWideInputs), 0) << name_of(isa) << " token " << t;
          for (int s = 0; s < 4; ++s) {
            EXPECT_EQ(a[k].sum[s][t], b[k].sum[s][t]);
            int sum = 0;
            for (int i = 16 * s; i < 16 * s + 16; ++i) {
              const int code = 256 * b[k].high[t][i] + b[k].low[t][i];
              const std::int64_t c = static_cast<std::int64_t>(k) * kWideInputs + i;
              const double value = c < kCols ? x[static_cast<std::size_t>((16 * tile + t) * kCols + c)] : 0.0;
              if (std::isfinite(b[0].scale[t]) && b[0].scale[t] > 0) {
                EXPECT_NEAR(code, value / b[0].scale[t], 0.51);
              }
              sum += code;
            }
            EXPECT_EQ(b[k].sum[s][t], sum);
          }
        }
      }
    }
  }
}

void expect_same_bits(const std::vector<float>& a, const std::vector<float>& b, const std::string& what) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    ASSERT_EQ(std::bit_cast<std::uint32_t>(a[i]), std::bit_cast<std::uint32_t>(b[i]))
        << what << " at " << i << ": " << a[i] << " " << b[i];
  }
}

struct Shape {
  std::int64_t rows, cols, tokens;
};

/// Every instruction set of this machine must give the reference's bits.
void expect_all_isas_agree(const Shape& s, const std::vector<Term>& terms, Precision precision, double x_size = 1) {
  static ThreadPool one(1), two(2);
  const CodedWeight w = weight_of(s.rows, s.cols, terms);
  const auto x = normals(s.tokens * s.cols, 17, x_size), bias = normals(s.rows, 18);
  const auto want = [&] {
    const WithIsa isa(Isa::reference);
    return multiply(w, precision, x, s.tokens, bias, one);
  }();
  for (const Isa isa : available_isas()) {
    const WithIsa with(isa);
    const std::string what = std::string(name_of(isa)) + " " + describe(terms[0].spec) + " " + std::to_string(s.rows) +
                             "x" + std::to_string(s.cols) + " t" + std::to_string(s.tokens);
    expect_same_bits(want, multiply(w, precision, x, s.tokens, bias, one), what);
    expect_same_bits(want, multiply(w, precision, x, s.tokens, bias, two), what + " two threads");
  }
}

void expect_integers_agree(const Shape& s, const std::vector<Term>& terms) {
  for (const Precision precision : {Precision::int8, Precision::int16}) expect_all_isas_agree(s, terms, precision);
}

const Shape kShapes[] = {{1, 1, 1}, {17, 577, 1}, {33, 64, 2}, {48, 100, 5}, {16, 320, 33}, {40, 130, 16}};

TEST(Isas, IntGroupIsBitEqual) {
  for (const auto& spec : int_group_zoo())
    for (const Shape& s : kShapes) expect_integers_agree(s, {random_term(spec, s.rows, s.cols, 21)});
}

TEST(Isas, EveryBatchSizeIsBitEqual) {
  const IntGroupSpec four{.bits = 4, .groups = {.group = 32}},
      half{.bits = 6, .groups = {.group = 16}, .zero_offset = 32};
  for (std::int64_t tokens = 1; tokens <= 33; ++tokens) {
    expect_integers_agree({50, 96, tokens}, {random_term(four, 50, 96, 22)});
    expect_integers_agree({20, 70, tokens}, {random_term(half, 20, 70, 23)});
    expect_all_isas_agree({20, 70, tokens}, {random_dense(DType::f16, 20, 70, 24)}, Precision::int8);
  }
}

// Groups span blocks, and so do segments of int16 activations: every way in which groups and pieces of 128 inputs cut a
// row.
TEST(Isas, EveryGroupLengthIsBitEqual) {
  for (const int group : {32, 64, 96, 128, 160, 192, 256, 384, 1024})
    for (const std::int64_t cols : {64, 576, 610, 1000})
      for (const std::int64_t tokens : {1, 3, 16, 23})
        for (const ZeroKind zero : {ZeroKind::constant, ZeroKind::integer, ZeroKind::f16_min}) {
          const IntGroupSpec spec{.bits = 4,
                                  .groups = {.group = group},
                                  .zero = zero,
                                  .zero_bits = zero == ZeroKind::integer ? 4 : 0,
                                  .zero_offset = zero == ZeroKind::constant ? 8 : 0};
          expect_integers_agree({20, cols, tokens}, {random_term(spec, 20, cols, 33)});
        }
}

TEST(Isas, LutGroupIsBitEqual) {
  Rng rng(3);
  for (int bits = 2; bits <= 8; ++bits)
    for (const int group : {16, 32, 20, 7})
      for (const Shape& s : kShapes) {
        LutGroupSpec spec{bits, {.group = group}, {}};
        for (int i = 0; i < 1 << bits; ++i)
          spec.table.push_back(static_cast<float>(static_cast<int>(rng.below(256)) - 128));
        spec.table[0] = -128;
        spec.table[1] = 127;
        expect_integers_agree(s, {random_term(spec, s.rows, s.cols, 25)});
      }
}

TEST(Isas, LowRankIsBitEqual) {
  for (const Shape& s : kShapes)
    for (const LowRankSpec& spec : lowrank_zoo(s.rows, s.cols))
      expect_all_isas_agree(s, {random_lowrank(spec, s.rows, s.cols, 34)}, Precision::int8);
  for (const Shape& s : kShapes)
    for (const LowRankSpec& spec : lowrank_zoo(s.rows, s.cols))
      expect_all_isas_agree(s, {random_sign_lowrank({spec}, s.rows, s.cols, 44)}, Precision::int8);
  // Ranks at which one token's inner products are split over threads.
  for (const std::int64_t tokens : {1, 3, 16, 17})
    expect_all_isas_agree({300, 577, tokens}, {random_lowrank({261, {4, 64}, {8, 32}}, 300, 577, 35)}, Precision::int8);
  expect_all_isas_agree({50, 70, 3}, {random_lowrank({5, {8, 64}, {16, 0}}, 50, 70, 36)}, Precision::int8, 1e-44);
}

TEST(Isas, VqAdditiveIsBitEqual) {
  for (const auto& spec : vq_additive_zoo())
    for (const Shape& s : kShapes) expect_integers_agree(s, {random_term(spec, s.rows, s.cols, 34)});
}

TEST(Isas, FloatActivationsAreBitEqual) {
  for (const Shape& s : kShapes) {
    expect_all_isas_agree(s, {random_ternary(s.rows, s.cols, 0.8, 36)}, Precision::int8);
    expect_all_isas_agree(s, {random_term(VqAdditiveSpec{.vector = 4, .books = 2}, s.rows, s.cols, 35)},
                          Precision::f32);
    for (const DType t : {DType::f32, DType::f16, DType::bf16})
      expect_all_isas_agree(s, {random_dense(t, s.rows, s.cols, 26)}, Precision::int8);
    expect_all_isas_agree(s, {random_term(IntGroupSpec{.bits = 4, .groups = {.group = 32}}, s.rows, s.cols, 27)},
                          Precision::f32);
    expect_all_isas_agree(s, {random_term(LutGroupSpec{2, {.group = 64}, {-1, -0.3f, 0.3f, 1}}, s.rows, s.cols, 28)},
                          Precision::int8);
    // Products that underflow: the sign of a zero is a bit like any other.
    expect_all_isas_agree(s, {random_dense(DType::f32, s.rows, s.cols, 29)}, Precision::int8, 1e-44);
  }
}

TEST(Isas, TermsAddUpInOrder) {
  for (const Shape& s : kShapes) {
    const std::vector<Term> terms = {
        random_term(IntGroupSpec{.bits = 3, .groups = {.group = 32}, .zero_offset = 4}, s.rows, s.cols, 30),
        random_csr(s.rows, s.cols, 0.05, 31), random_dense(DType::bf16, s.rows, s.cols, 32)};
    expect_integers_agree(s, terms);
    expect_all_isas_agree(s, terms, Precision::f32);
    expect_integers_agree(s, {terms[0], random_lowrank({1, {4, 32}, {8, 16}}, s.rows, s.cols, 37), terms[1],
                              random_lowrank({1, {16, 0}, {4, 16}}, s.rows, s.cols, 38),
                              random_sign_lowrank({{1, {8, 16}, {8, 16}}}, s.rows, s.cols, 39)});
  }
}

// Rows of their own are added to what all other terms and the bias have left.
TEST(Isas, RowsAddUp) {
  const IntGroupSpec low{.bits = 3, .groups = {.group = 32}, .zero_offset = 4},
      high{.bits = 5, .groups = {.group = 64}, .zero_offset = 0};
  for (const Shape& s : kShapes) {
    const std::vector<Term> terms = {random_term(low, s.rows, s.cols, 45), random_int_rows(high, s.rows, s.cols, 46),
                                     random_csr(s.rows, s.cols, 0.05, 47), random_int_rows(low, s.rows, s.cols, 48),
                                     random_lowrank({1, {4, 32}, {8, 16}}, s.rows, s.cols, 49)};
    expect_integers_agree(s, terms);
    expect_all_isas_agree(s, terms, Precision::f32);
  }
  for (const auto& spec : int_group_zoo())
    expect_integers_agree({50, 130, 7}, {random_term(low, 50, 130, 45), random_int_rows(spec, 50, 130, 50)});
  // As many as are added by several threads.
  expect_integers_agree({700, 64, 90}, {random_term(low, 700, 64, 45), random_int_rows(high, 700, 64, 51)});
}

TEST(Reference, RowsAgreeWithDoublesOverTheDecodedWeights) {
  const WithIsa isa(Isa::reference);
  ThreadPool pool(1);
  const std::int64_t rows = 50, cols = 131, tokens = 3;
  const auto x = normals(tokens * cols, 1), bias = normals(rows, 2);
  const CodedWeight w =
      weight_of(rows, cols,
                {random_term(IntGroupSpec{.bits = 3, .groups = {.group = 32}, .zero_offset = 4}, rows, cols, 52),
                 random_int_rows({.bits = 5, .groups = {.group = 64}, .zero_offset = 0}, rows, cols, 53)});
  std::vector<float> decoded(static_cast<std::size_t>(rows * cols));
  decode_rows(w, 0, rows, decoded.data());
  for (const Precision precision : {Precision::int8, Precision::int16, Precision::f32}) {
    const auto seen = dequantised(precision, x, tokens, cols);
    const auto y = multiply(w, precision, x, tokens, bias, pool);
    expect_near_doubles(w, decoded, seen, bias, y);
  }
}

// Codes, scales and activations at their limits: nothing may saturate or wrap.
TEST(Isas, ExtremeValuesAreBitEqual) {
  for (int bits = 2; bits <= 8; ++bits)
    for (const int corner : {0, 1, 2}) {
      const IntGroupSpec spec{.bits = bits, .groups = {.group = 32}, .zero_offset = corner == 2 ? 1 << bits : 0};
      const std::int64_t rows = 16, cols = 128;
      IntGroupParts parts;
      const auto most = static_cast<std::uint8_t>((1 << bits) - 1);
      for (std::int64_t i = 0; i < rows * cols; ++i)
        parts.codes.push_back(corner == 1 && i % 2 == 0 ? 0 : corner == 2 ? 0 : most);
      parts.scale_f16.assign(static_cast<std::size_t>(rows * 4), 0x7BFF);
      const CodedWeight w = weight_of(rows, cols, {*pack(spec, rows, cols, parts)});
      ThreadPool pool(1);
      for (const Precision precision : {Precision::int8, Precision::int16})
        for (const float v : {3.0f, -3.0f, 1e30f}) {
          std::vector<float> x(static_cast<std::size_t>(cols * 3), v);
          for (std::size_t i = 0; i < x.size() && corner == 1; i += 2) x[i] = -v;
          std::vector<float> want;
          for (auto at = available_isas().rbegin(); at != available_isas().rend(); ++at) {
            const WithIsa isa(*at);
            const auto y = multiply(w, precision, x, 3, {}, pool);
            if (want.empty()) want = y;
            expect_same_bits(want, y, std::string(name_of(*at)) + " " + std::to_string(bits) + " bits");
          }
        }
    }
}

TEST(Matmul, SharedInputsTransformsAndStrides) {
  ThreadPool pool(2);
  const std::int64_t cols = 96, tokens = 3, x_stride = 101;
  const auto x = normals(tokens * x_stride, 40);
  std::vector<bool> signs(96);
  for (std::size_t i = 0; i < 96; ++i) signs[i] = i % 3 == 0;
  std::vector<CodedWeight> weights;
  for (std::int64_t rows : {40, 7, 64}) {
    weights.push_back(weight_of(
        rows, cols,
        {random_term(IntGroupSpec{.bits = 4, .groups = {.group = 32}}, rows, cols, 41), random_csr(rows, cols, 0.1, 42),
         random_lowrank({static_cast<std::int32_t>(rows / 7), {8, 64}, {4, 16}}, rows, cols, 43),
         random_int_rows({.bits = 5, .groups = {.group = 64}, .zero_offset = 0}, rows, cols, 44)}));
    if (rows == 7) weights.back().input = *hadamard_transform(32, signs);
  }
  std::vector<Linear> linears;
  std::vector<std::vector<float>> ys;
  std::vector<Product> products;
  for (const auto& w : weights) {
    linears.push_back(*Linear::prepare(w));
    ys.emplace_back(static_cast<std::size_t>(tokens * (w.rows + 3)));
  }
  for (std::size_t i = 0; i < weights.size(); ++i)
    products.push_back({&linears[i], ys[i].data(), weights[i].rows + 3, nullptr});
  Workspace workspace;
  matmul(products, x.data(), tokens, x_stride, workspace, pool);
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const std::int64_t rows = weights[i].rows;
    std::vector<float> tight;
    for (std::int64_t t = 0; t < tokens; ++t) {
      std::vector<float> seen(x.begin() + t * x_stride, x.begin() + t * x_stride + cols), transformed(96);
      apply_transform(weights[i].input, cols, seen.data(), transformed.data());
      tight.insert(tight.end(), transformed.begin(), transformed.end());
    }
    CodedWeight plain = weights[i];
    plain.input = {};
    const auto want = multiply(plain, Precision::int8, tight, tokens, {}, pool);
    for (std::int64_t t = 0; t < tokens; ++t)
      for (std::int64_t r = 0; r < rows; ++r)
        EXPECT_EQ(ys[i][static_cast<std::size_t>(t * (rows + 3) + r)], want[static_cast<std::size_t>(t * rows + r)]);
    EXPECT_EQ(ys[i][static_cast<std::size_t>(rows)], 0.0f) << "wrote beyond the rows";
  }
}

TEST(Matmul, RowsMadeOnTheWayAreMadeOnceAndBeforeAnyIsRead) {
  ThreadPool pool(2);
  const std::int64_t rows = 40, cols = 96;
  std::vector<CodedWeight> weights;
  weights.push_back(weight_of(rows, cols, {random_csr(rows, cols, 0.1, 52)}));
  weights.push_back(
      weight_of(rows, cols, {random_term(IntGroupSpec{.bits = 4, .groups = {.group = 32}}, rows, cols, 51)}));
  weights.push_back(weights.back());
  weights.back().input = *hadamard_transform(32, std::vector<bool>(96, true));
  std::vector<Linear> linears;
  for (const auto& w : weights) linears.push_back(*Linear::prepare(w));
  for (const std::int64_t tokens : {1, 3, 40}) {
    const auto finished = normals(tokens * cols, 53);
    std::vector<float> x(finished.size(), std::nanf(""));
    std::vector<std::atomic<int>> made(static_cast<std::size_t>(tokens));
    auto make = [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t t = first; t < last; ++t) ++made[static_cast<std::size_t>(t)];
      std::copy(finished.begin() + first * cols, finished.begin() + last * cols, x.begin() + first * cols);
    };
    const RowMaker maker = {
        [](void* f, std::int64_t first, std::int64_t last) { (*static_cast<decltype(make)*>(f))(first, last); }, &make};
    std::vector<std::vector<float>> want(3, std::vector<float>(static_cast<std::size_t>(tokens * rows))), got = want;
    std::vector<Product> products, same;
    for (std::size_t i = 0; i < 3; ++i) {
      products.push_back({&linears[i], want[i].data(), rows, nullptr});
      same.push_back({&linears[i], got[i].data(), rows, nullptr});
    }
    Workspace workspace;
    matmul(products, finished.data(), tokens, cols, workspace, pool);
    matmul(same, x.data(), tokens, cols, workspace, pool, maker);
    for (const auto& times : made) EXPECT_EQ(times, 1);
    for (std::size_t i = 0; i < 3; ++i) expect_same_bits(want[i], got[i], std::to_string(tokens) + " tokens");
    // Without anything to quantise.
    std::ranges::fill(x, std::nanf(""));
    matmul(std::span(same).first(1), x.data(), tokens, cols, workspace, pool, maker);
    expect_same_bits(want[0], got[0], "csr alone");
  }
}

TEST(Linear, RefusesBrokenWeights) {
  CodedWeight w = weight_of(4, 64, {random_term(IntGroupSpec{.bits = 4, .groups = {.group = 32}}, 4, 64, 1)});
  w.cols = 96;
  EXPECT_FALSE(Linear::prepare(w).ok());
  EXPECT_FALSE(choose_isa("avx1024").ok());
}

}  // namespace
}  // namespace sparing::kernels
