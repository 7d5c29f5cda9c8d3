#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "codecs/codec_json.h"
#include "codecs/coded_weight.h"
#include "codecs/random_weights.h"
#include "codecs/transform.h"

namespace sparing {
namespace {

using testing::int_group_zoo;
using testing::lowrank_zoo;
using testing::random_csr;
using testing::random_dense;
using testing::random_lowrank;
using testing::random_parts;
using testing::random_term;

CodedWeight weight_of(std::int64_t rows, std::int64_t cols, Term term) {
  CodedWeight w;
  w.rows = rows;
  w.cols = cols;
  w.terms.push_back(std::move(term));
  return w;
}

TEST(IntGroup, PackUnpackKeepsEveryField) {
  for (const auto& spec : int_group_zoo())
    for (const auto& [rows, cols] : {std::pair<std::int64_t, std::int64_t>{1, 1}, {17, 61}, {16, 256}, {3, 577}}) {
      Rng rng(7);
      const IntGroupParts parts = random_parts(spec, rows, cols, rng);
      const auto term = pack(spec, rows, cols, parts);
      ASSERT_TRUE(term.ok()) << describe(spec);
      EXPECT_EQ(term->blob.bytes.size(), *blob_bytes(spec, rows, cols));
      EXPECT_EQ(term->blob.bytes.size() % 64, 0u);
      const auto back = unpack(*term, rows, cols);
      ASSERT_TRUE(back.ok());
      EXPECT_EQ(back->codes, parts.codes) << describe(spec);
      EXPECT_EQ(back->scale_f16, parts.scale_f16);
      EXPECT_EQ(back->scale_codes, parts.scale_codes);
      EXPECT_EQ(back->scale_super, parts.scale_super);
      EXPECT_EQ(back->zero_codes, parts.zero_codes);
      EXPECT_EQ(back->zero_f16, parts.zero_f16);
      EXPECT_EQ(back->zero_super, parts.zero_super);
      EXPECT_TRUE(validate(weight_of(rows, cols, *term), true).ok());
    }
}

TEST(IntGroup, DecodesByItsFormula) {
  const IntGroupSpec spec{.bits = 3, .groups = {.group = 5}, .zero = ZeroKind::f16_min, .zero_offset = 0};
  const std::int64_t rows = 18, cols = 43, groups = 9;
  Rng rng(3);
  const IntGroupParts p = random_parts(spec, rows, cols, rng);
  const CodedWeight w = weight_of(rows, cols, *pack(spec, rows, cols, p));
  std::vector<float> out(static_cast<std::size_t>(2 * cols));
  decode_rows(w, 16, 2, out.data());
  for (std::int64_t r = 16; r < 18; ++r)
    for (std::int64_t c = 0; c < cols; ++c) {
      const auto g = static_cast<std::size_t>(r * groups + c / 5);
      const float scaled =
          f16_to_f32(p.scale_f16[g]) * static_cast<float>(p.codes[static_cast<std::size_t>(r * cols + c)]);
      EXPECT_EQ(out[static_cast<std::size_t>((r - 16) * cols + c)], scaled + f16_to_f32(p.zero_f16[g]));
    }
}

// The stored layout is a file format: pinned by hand for 6 = 4 + 2 bits.
TEST(IntGroup, LayoutIsPinned) {
  const IntGroupSpec spec{.bits = 6, .groups = {.group = 64}, .zero_offset = 32};
  IntGroupParts p;
  p.codes.assign(2 * 32, 0);
  p.codes[32 + 4 * 3 + 2] = 0x2D;  // row 1, quad 3, input 2
  p.scale_f16 = {0x3C00, 0x4000};
  const Term t = *pack(spec, 2, 32, p);
  const auto byte = [&](std::size_t i) { return static_cast<int>(t.blob.bytes[i]); };
  EXPECT_EQ(t.blob.bytes.size(), 384u + 64u);
  EXPECT_EQ(byte(64 + 4 + 2), 0xD0);       // plane of 4: quads 2, 3 in chunk 1, high nibble
  EXPECT_EQ(byte(256 + 4 + 2), 0x2 << 6);  // plane of 2: quads 0..3 in chunk 0, top pair
  EXPECT_EQ(byte(384 + 2) | byte(384 + 3) << 8, 0x4000);
  int others = 0;
  for (std::size_t i = 0; i < 384; ++i) others += byte(i) != 0;
  EXPECT_EQ(others, 2);
}

TEST(IntGroup, BadSpecsAreRefusedByField) {
  const auto refused = [](const IntGroupSpec& s, const char* field) {
    const Status status = validate(CodecSpec(s), 4, 4);
    EXPECT_FALSE(status.ok()) << field;
    if (status.ok()) return;
    EXPECT_NE(status.error().message.find(field), std::string::npos) << status.error().message;
  };
  refused({.bits = 9}, "bits");
  refused({.bits = 4, .groups = {.group = 0}}, "group");
  refused({.bits = 4, .zero_offset = 17}, "zero_offset");
  refused({.bits = 4, .zero = ZeroKind::integer, .zero_bits = 9, .zero_offset = 0}, "zero_bits");
  refused({.bits = 4, .groups = {.group = 4, .scale = ScaleKind::coded, .scale_bits = 6}}, "super");
  EXPECT_FALSE(blob_bytes(IntGroupSpec{}, 1ll << 40, 1ll << 40).ok());
  EXPECT_FALSE(blob_bytes(IntGroupSpec{}, 0, 4).ok());
  EXPECT_FALSE(blob_bytes(DenseSpec{DType::i8}, 4, 4).ok());
}

TEST(Validate, DeepFindsScalesThatAreNotFinite) {
  const IntGroupSpec spec{.bits = 4, .groups = {.group = 32}};
  Rng rng(1);
  IntGroupParts p = random_parts(spec, 4, 64, rng);
  p.scale_f16[5] = 0x7C00;
  const CodedWeight w = weight_of(4, 64, *pack(spec, 4, 64, p));
  EXPECT_TRUE(validate(w, false).ok());
  EXPECT_FALSE(validate(w, true).ok());
  p.codes[0] = 16;
  EXPECT_FALSE(pack(spec, 4, 64, p).ok());
}

TEST(Csr, DecodesAndRefusesBrokenIndices) {
  const Term t = random_csr(20, 300, 0.05, 9);
  CodedWeight w = weight_of(20, 300, t);
  ASSERT_TRUE(validate(w, true).ok());
  std::vector<float> all(20 * 300), row(300);
  decode_rows(w, 0, 20, all.data());
  std::int64_t nonzeros = 0;
  for (float v : all) nonzeros += v != 0;
  EXPECT_NEAR(static_cast<double>(nonzeros), static_cast<double>(std::get<CsrSpec>(t.spec).nonzeros), 2);
  decode_rows(w, 7, 1, row.data());
  EXPECT_TRUE(std::equal(row.begin(), row.end(), all.begin() + 7 * 300));

  for (const std::size_t at : {std::size_t{0}, std::size_t{21}, std::size_t{64}, std::size_t{129}}) {
    Buffer broken(t.blob.bytes.size());
    std::copy(t.blob.bytes.begin(), t.blob.bytes.end(), broken.data());
    broken.data()[at] = std::byte{0xFF};
    const Status status = validate(weight_of(20, 300, Term{t.spec, Blob::of(std::move(broken))}), false);
    EXPECT_FALSE(status.ok()) << at;
  }
}

// Against the two factors multiplied in doubles, taken apart with no help of the codec's own decoder.
TEST(LowRank, DecodesByItsFormula) {
  for (const auto& [rows, cols] : {std::pair<std::int64_t, std::int64_t>{1, 1}, {17, 61}, {40, 577}})
    for (const LowRankSpec& spec : lowrank_zoo(rows, cols)) {
      Rng rng(4);
      const FactorParts inner = testing::random_factor(spec.inner, spec.rank, cols, rng),
                        outer = testing::random_factor(spec.outer, spec.rank, rows, rng);
      const CodedWeight w = weight_of(rows, cols, *pack(spec, rows, cols, inner, outer));
      EXPECT_EQ(w.terms[0].blob.bytes.size(), *blob_bytes(spec, rows, cols));
      const Status valid = validate(w, true);
      ASSERT_TRUE(valid.ok()) << valid.error().message;
      const auto value = [](const FactorSpec& s, const FactorParts& p, std::int64_t n, std::int64_t k, std::int64_t i) {
        const std::uint16_t code = p.codes[static_cast<std::size_t>(k * n + i)];
        if (s.bits == 16) return static_cast<double>(f16_to_f32(code));
        const std::int64_t groups = (n + s.group - 1) / s.group;
        return static_cast<double>(f16_to_f32(p.scales[static_cast<std::size_t>(k * groups + i / s.group)])) *
               (code - (1 << (s.bits - 1)));
      };
      std::vector<float> all(static_cast<std::size_t>(rows * cols)), row(static_cast<std::size_t>(cols));
      decode_rows(w, 0, rows, all.data());
      for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t c = 0; c < cols; c += 7) {
          double sum = 0, size = 0;
          for (std::int64_t k = 0; k < spec.rank; ++k) {
            const double product = value(spec.outer, outer, rows, k, r) * value(spec.inner, inner, cols, k, c);
            sum += product;
            size += std::fabs(product);
          }
          EXPECT_NEAR(all[static_cast<std::size_t>(r * cols + c)], sum, size * (spec.rank + 1) * 0x1p-24)
              << describe(spec);
        }
        decode_rows(w, r, 1, row.data());
        EXPECT_TRUE(std::equal(row.begin(), row.end(), all.begin() + r * cols));
      }
    }
}

// The stored layout is a file format: rank 2 of a matrix of 17 x 3, halves of bytes by hand.
TEST(LowRank, LayoutIsPinned) {
  const LowRankSpec spec{2, {8, 16}, {4, 16}};
  FactorParts inner{{129, 1, 2, 3, 4, 255}, {0x3C00, 0x4000}}, outer;
  outer.codes.assign(2 * 17, 8);
  outer.codes[9] = 15;       // component 0, row 9
  outer.codes[17 + 16] = 3;  // component 1, row 16
  outer.scales = {1, 2, 3, 4};
  const Term t = *pack(spec, 17, 3, inner, outer);
  const auto byte = [&](std::size_t i) { return static_cast<int>(t.blob.bytes[i]); };
  ASSERT_EQ(t.blob.bytes.size(), 64u * 4);
  EXPECT_EQ(byte(0), 129);
  EXPECT_EQ(byte(3), 128);       // padding means zero
  EXPECT_EQ(byte(16 + 2), 255);  // component 1
  EXPECT_EQ(byte(64) | byte(65) << 8, 0x3C00);
  EXPECT_EQ(byte(128 + 1), 0xF8);       // row 9 above row 1
  EXPECT_EQ(byte(128 + 16 + 8), 0x83);  // lanes 1, component 1
  EXPECT_EQ(byte(192 + 2), 3);          // group 0 of component 1
  EXPECT_EQ(byte(192 + 4), 2);          // group 1 of component 0
}

TEST(LowRank, BadSpecsAndValuesAreRefused) {
  const auto refused = [](const LowRankSpec& s, const char* field) {
    const Status status = validate(CodecSpec(s), 20, 30);
    ASSERT_FALSE(status.ok()) << field;
    EXPECT_NE(status.error().message.find(field), std::string::npos) << status.error().message;
  };
  refused({0, {}, {}}, "rank");
  refused({21, {}, {}}, "rank");
  refused({4, {5, 64}, {}}, "inner bits");
  refused({4, {}, {8, 24}}, "outer group");
  refused({4, {}, {8, 0}}, "outer group");
  refused({4, {16, 64}, {}}, "inner group");
  EXPECT_FALSE(blob_bytes(LowRankSpec{0x7FFFFFFF, {16, 0}, {16, 0}}, 1ll << 40, 1ll << 40).ok());
  const LowRankSpec spec{3, {8, 16}, {16, 0}};
  Rng rng(2);
  FactorParts inner = testing::random_factor(spec.inner, 3, 30, rng),
              outer = testing::random_factor(spec.outer, 3, 20, rng);
  FactorParts broken = outer;
  broken.codes[7] = 0x7C00;
  EXPECT_TRUE(validate(weight_of(20, 30, *pack(spec, 20, 30, inner, broken)), false).ok());
  EXPECT_FALSE(validate(weight_of(20, 30, *pack(spec, 20, 30, inner, broken)), true).ok());
  broken = inner;
  broken.scales[5] = 0xFC00;
  EXPECT_FALSE(validate(weight_of(20, 30, *pack(spec, 20, 30, broken, outer)), true).ok());
  inner.codes[3] = 256;
  EXPECT_FALSE(pack(spec, 20, 30, inner, outer).ok());
  outer.codes.pop_back();
  EXPECT_FALSE(pack(spec, 20, 30, broken, outer).ok());
}

// Signs times the magnitudes that a lowrank of the same factors decodes to (products fused, so up to roundings).
TEST(SignLowRank, DecodesByItsFormula) {
  for (const auto& [rows, cols] : {std::pair<std::int64_t, std::int64_t>{1, 1}, {17, 61}, {40, 577}})
    for (const LowRankSpec& magnitude : lowrank_zoo(rows, cols)) {
      Rng rng(14);
      const FactorParts inner = testing::random_factor(magnitude.inner, magnitude.rank, cols, rng),
                        outer = testing::random_factor(magnitude.outer, magnitude.rank, rows, rng);
      std::vector<std::uint8_t> minus(static_cast<std::size_t>(rows * cols));
      for (std::uint8_t& m : minus) m = static_cast<std::uint8_t>(rng.below(2));
      const SignLowRankSpec spec{magnitude};
      const CodedWeight plain = weight_of(rows, cols, *pack(magnitude, rows, cols, inner, outer)),
                        w = weight_of(rows, cols, *pack(spec, rows, cols, minus, inner, outer));
      EXPECT_EQ(w.terms[0].blob.bytes.size(), *blob_bytes(spec, rows, cols));
      EXPECT_EQ(w.terms[0].blob.bytes.size(),
                plain.terms[0].blob.bytes.size() +
                    static_cast<std::size_t>((rows + 15) / 16 * ((cols + 15) / 16) * 32 + 63) / 64 * 64);
      ASSERT_TRUE(validate(w, true).ok());
      std::vector<float> magnitudes(minus.size()), values(minus.size()), row(static_cast<std::size_t>(cols));
      decode_rows(plain, 0, rows, magnitudes.data());
      decode_rows(w, 0, rows, values.data());
      for (std::size_t i = 0; i < values.size(); ++i)
        EXPECT_NEAR(values[i], minus[i] != 0 ? -magnitudes[i] : magnitudes[i], 1e-4) << describe(spec);
      decode_rows(w, rows - 1, 1, row.data());
      EXPECT_TRUE(std::equal(row.begin(), row.end(), values.end() - cols));
    }
}

// The stored layout is a file format.
TEST(SignLowRank, LayoutIsPinnedAndBadSpecsAreRefused) {
  const SignLowRankSpec spec{{1, {16, 0}, {16, 0}}};
  std::vector<std::uint8_t> minus(17 * 18);
  minus[3 * 18 + 9] = 1;    // row 3, input 9
  minus[16 * 18 + 17] = 1;  // row 16, input 17
  const FactorParts inner{std::vector<std::uint16_t>(18, 0x3C00), {}},
      outer{std::vector<std::uint16_t>(17, 0x4000), {}};
  const Term t = *pack(spec, 17, 18, minus, inner, outer);
  ASSERT_EQ(t.blob.bytes.size(), 128u + 64u + 64u);
  EXPECT_EQ(static_cast<int>(t.blob.bytes[2 * 3 + 1]), 2);
  EXPECT_EQ(static_cast<int>(t.blob.bytes[64 + 32]), 2);
  std::vector<float> row(18);
  decode_rows(weight_of(17, 18, t), 3, 1, row.data());
  for (std::size_t c = 0; c < 18; ++c) EXPECT_EQ(row[c], c == 9 ? -2.0f : 2.0f);
  const Status wide = validate(CodecSpec(SignLowRankSpec{{65, {8, 64}, {8, 64}}}), 100, 100);
  ASSERT_FALSE(wide.ok());
  EXPECT_NE(wide.error().message.find("[sign_lowrank] rank 65"), std::string::npos) << wide.error().message;
  EXPECT_FALSE(validate(CodecSpec(SignLowRankSpec{{8, {3, 64}, {8, 64}}}), 100, 100).ok());
  EXPECT_FALSE(blob_bytes(SignLowRankSpec{{1, {16, 0}, {16, 0}}}, 1ll << 40, 1ll << 40).ok());
}

TEST(Terms, AddUp) {
  const std::int64_t rows = 5, cols = 70;
  CodedWeight w = weight_of(rows, cols, random_term(IntGroupSpec{.bits = 4, .groups = {.group = 32}}, rows, cols, 1));
  std::vector<float> a(350), b(350), sum(350);
  decode_rows(w, 0, rows, a.data());
  const Term sparse = random_csr(rows, cols, 0.1, 2);
  decode_rows(weight_of(rows, cols, sparse), 0, rows, b.data());
  w.terms.push_back(sparse);
  decode_rows(w, 0, rows, sum.data());
  for (std::size_t i = 0; i < sum.size(); ++i) EXPECT_EQ(sum[i], a[i] + b[i]);
  EXPECT_EQ(stored_bytes(w), w.terms[0].blob.bytes.size() + w.terms[1].blob.bytes.size());
  w.terms[1] = random_lowrank({3, {8, 64}, {4, 16}}, rows, cols, 6);
  decode_rows(weight_of(rows, cols, w.terms[1]), 0, rows, b.data());
  decode_rows(w, 0, rows, sum.data());
  for (std::size_t i = 0; i < sum.size(); ++i) EXPECT_EQ(sum[i], a[i] + b[i]);
}

// w . T(x) must equal (w T) . x for every transform.
TEST(Transforms, FoldingAgreesWithApplying) {
  const std::int64_t cols = 96;
  Rng rng(5);
  std::vector<std::uint32_t> index(96);
  std::vector<std::uint16_t> d(96);
  std::vector<bool> signs(96);
  for (std::uint32_t i = 0; i < 96; ++i) {
    index[i] = (i * 35 + 11) % 96;
    d[i] = f32_to_f16(static_cast<float>(0.5 + rng.uniform()));
    signs[i] = rng.below(2) == 1;
  }
  CodedWeight w = weight_of(3, cols, random_dense(DType::f32, 3, cols, 4));
  std::vector<float> x(96), tx(96), plain(3 * 96), effective(3 * 96);
  for (auto& v : x) v = static_cast<float>(rng.normal());
  for (auto made : {permutation_transform(index), diagonal_transform(d), hadamard_transform(32, signs)}) {
    ASSERT_TRUE(made.ok());
    w.input = *made;
    ASSERT_TRUE(validate(w, true).ok());
    apply_transform(w.input, cols, x.data(), tx.data());
    decode_rows(w, 0, 3, plain.data());
    decode_effective_rows(w, 0, 3, effective.data());
    for (std::size_t r = 0; r < 3; ++r) {
      double a = 0, b = 0, size = 0;
      for (std::size_t c = 0; c < 96; ++c) {
        a += static_cast<double>(plain[r * 96 + c]) * tx[c];
        b += static_cast<double>(effective[r * 96 + c]) * x[c];
        size += std::fabs(static_cast<double>(plain[r * 96 + c]) * tx[c]);
      }
      EXPECT_NEAR(a, b, 1e-5 * size);
    }
  }
  index[3] = index[4];
  EXPECT_FALSE(permutation_transform(index).ok());
  EXPECT_FALSE(hadamard_transform(64, signs).ok());
  EXPECT_FALSE(hadamard_transform(3, signs).ok());
}

TEST(Transform, HadamardIsTheMatrixOfItsName) {
  Rng rng(9);
  for (const std::int32_t block : {1, 2, 4, 8, 64}) {
    const std::int64_t cols = 3 * block;
    SCOPED_TRACE(block);
    std::vector<bool> negative(static_cast<std::size_t>(cols));
    std::vector<float> x(negative.size()), turned(x), row(x), scratch(x);
    for (std::size_t i = 0; i < x.size(); ++i) {
      negative[i] = rng.below(2) == 1;
      x[i] = static_cast<float>(rng.normal());
    }
    const Transform t = hadamard_transform(block, negative).value();
    apply_transform(t, cols, x.data(), turned.data());
    for (std::size_t i = 0; i < x.size(); ++i) {
      const std::size_t first = i / static_cast<std::size_t>(block) * static_cast<std::size_t>(block);
      double sum = 0;
      for (std::size_t j = 0; j < static_cast<std::size_t>(block); ++j) {
        const double sign = std::popcount((i - first) & j) % 2 == 1 ? -1 : 1;
        sum += sign * (negative[first + j] ? -1 : 1) * x[first + j];
      }
      EXPECT_NEAR(turned[i], sum / std::sqrt(block), 1e-5);
    }
    // Orthogonal: what is turned and folded is what it was.
    row = turned;
    fold_transform(t, cols, row.data(), scratch.data());
    for (std::size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(row[i], x[i], 1e-5);
  }
  EXPECT_EQ(hadamard_block(576), 64);
  EXPECT_EQ(hadamard_block(1536), 512);
  EXPECT_EQ(hadamard_block(4096), 512);
  EXPECT_EQ(hadamard_block(67), 1);
}

TEST(Json, RoundTripsAndRefusesByName) {
  std::vector<CodecSpec> specs = {DenseSpec{DType::bf16}, CsrSpec{12, false}, TernaryDictSpec{7},
                                  LutGroupSpec{2, {.group = 64}, {-1.0f, -0.33333334f, 0.1f, 1.0f}}};
  for (const auto& s : int_group_zoo()) specs.emplace_back(s);
  for (const auto& s : lowrank_zoo(50, 50)) specs.emplace_back(s), specs.emplace_back(SignLowRankSpec{s});
  for (const auto& s : testing::vq_additive_zoo()) specs.emplace_back(s);
  for (const auto& s : specs) {
    const auto back = spec_from_json(nlohmann::json::parse(spec_to_json(s).dump()));
    ASSERT_TRUE(back.ok()) << spec_to_json(s).dump() << back.error().message;
    EXPECT_TRUE(*back == s) << describe(s);
  }
  const auto refused = [](const char* text, const char* says) {
    const auto r = spec_from_json(nlohmann::json::parse(text));
    ASSERT_FALSE(r.ok()) << text;
    EXPECT_NE(r.error().message.find(says), std::string::npos) << r.error().message;
  };
  refused(R"({"codec":"vq","version":1})", "vq");
  refused(R"({"codec":"d\nse","version":1,"dtype":"F16"})", R"("d\nse")");  // one line, whatever the file holds
  refused(R"({"codec":"dense","version":1,"dtype":"F\n16"})", R"("F\n16")");
  refused(R"({"codec":"dense","version":1,"dtype":"F16","g\nap":3})", R"("g\nap")");
  refused(R"({"codec":"dense","version":2,"dtype":"F16"})", "version 2");
  refused(R"({"codec":"dense","version":1,"dtype":"F16","gap":3})", "gap");
  refused(R"({"codec":"lowrank","version":1,"rank":8,"inner":{"bits":8,"group":64}})", "outer");
  refused(R"({"codec":"lowrank","version":1,"rank":8,"inner":[],"outer":{"bits":16}})", "inner");
  refused(R"({"codec":"lowrank","version":1,"rank":8,"inner":{"bits":16},"outer":{"bits":16,"scale":1}})", "scale");
  refused(R"({"codec":"csr","version":1,"nonzeros":-3,"wide_index":false})", "nonzeros");
  refused(R"({"codec":"csr","version":1,"nonzeros":99999999999999999999,"wide_index":false})", "nonzeros");
  refused(R"({"codec":"int_group","version":1,"bits":4,"group":"x","scale":"f16","zero":"constant","zero_offset":8})",
          "group");
  refused("[]", "object");
  Transform t;
  t.kind = TransformKind::hadamard;
  t.block = 64;
  const auto back = transform_from_json(transform_to_json(t));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->block, 64);
}

}  // namespace
}  // namespace sparing
