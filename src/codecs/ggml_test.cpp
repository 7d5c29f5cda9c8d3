#include "codecs/ggml.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <string>

#include "base/rng.h"
#include "base/system.h"
#include "base/testing.h"
#include "codecs/ggml_blocks.h"
#include "codecs/ggml_pack.h"
#include "codecs/planes.h"
#include "codecs/random_weights.h"
#include "codecs/transform.h"

namespace sparing {
namespace {

struct Golden {
  std::string kind, type;
  std::vector<std::byte> blocks;
  std::vector<float> values;
};

std::vector<std::byte> from_hex(const std::string& hex) {
  std::vector<std::byte> out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    out.push_back(static_cast<std::byte>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return out;
}

std::vector<Golden> golden() {
  std::ifstream file(std::string(SPARING_SOURCE_DIR) + "/tests/golden/ggml_blocks.txt");
  std::vector<Golden> all;
  std::string blocks, values;
  for (Golden g; file >> g.kind >> g.type >> blocks >> values;) {
    g.blocks = from_hex(blocks);
    const auto bytes = from_hex(values);
    g.values.resize(bytes.size() / 4);
    std::memcpy(g.values.data(), bytes.data(), bytes.size());
    all.push_back(g);
  }
  return all;
}

const GgmlTraits* traits_named(const std::string& name) {
  for (std::uint32_t id = 0; id < 64; ++id)
    if (const auto* t = ggml_traits(id); t != nullptr && t->name == name) return t;
  return nullptr;
}

bool same_bits(const float* a, const float* b, std::size_t n) {
  return std::memcmp(a, b, n * 4) == 0;
}

TEST(Ggml, DecodesAndEncodesAsTheGgufPackageDoes) {
  int decoded = 0, encoded = 0;
  for (const Golden& g : golden()) {
    const GgmlTraits* t = traits_named(g.type);
    ASSERT_NE(t, nullptr) << g.type;
    if (g.kind == "decode") {
      std::vector<float> out(g.values.size());
      ggml_decode(t->type, g.blocks, static_cast<std::int64_t>(out.size()), out.data());
      EXPECT_TRUE(same_bits(out.data(), g.values.data(), out.size())) << g.type;
      ++decoded;
    } else {
      std::vector<std::byte> out(g.blocks.size());
      ASSERT_TRUE(ggml_encode(t->type, g.values.data(), static_cast<std::int64_t>(g.values.size()), out.data()).ok());
      EXPECT_EQ(out, g.blocks) << g.type;
      ++encoded;
    }
  }
  EXPECT_EQ(decoded, 19);
  EXPECT_EQ(encoded, 7);
}

/// Random blocks whose f16 fields are finite.
Buffer random_blocks(const GgmlTraits& t, std::int64_t count, Rng& rng) {
  Buffer b(static_cast<std::size_t>(count * t.block_bytes));
  for (auto& byte : b.as<std::uint8_t>()) byte = static_cast<std::uint8_t>(rng.next());
  if (t.block_weights == 1) {
    for (std::int64_t i = 0; i < count; ++i) b.data()[i * t.block_bytes + t.block_bytes - 1] &= std::byte{0xBF};
    return b;
  }
  for (std::int64_t i = 0; i < count; ++i) {
    std::byte* p = b.data() + i * t.block_bytes;
    for (const int at : {0, 2, 80, 82, 108, 208}) {
      const bool field = t.type == GgmlType::q2_k   ? at == 80 || at == 82
                         : t.type == GgmlType::q3_k ? at == 108
                         : t.type == GgmlType::q6_k ? at == 208
                                                    : at == 0 || at == 2;
      if (field) p[at + 1] &= std::byte{0xBF};
    }
  }
  return b;
}

TEST(Ggml, TranscodingKeepsEveryBit) {
  Rng rng(11);
  for (std::uint32_t id = 0; id < 64; ++id) {
    const GgmlTraits* t = ggml_traits(id);
    if (t == nullptr) continue;
    const std::int64_t rows = 37, cols = 768, per_row = cols / t->block_weights;
    Buffer blocks = random_blocks(*t, rows * per_row, rng);
    const Blob blob = Blob::of(std::move(blocks));
    std::vector<std::int32_t> order(37);
    for (std::int32_t i = 0; i < 37; ++i) order[static_cast<std::size_t>(i)] = (i * 5 + 3) % 37;
    std::vector<float> want(static_cast<std::size_t>(rows * cols)), have(want.size());
    ggml_decode(t->type, blob.bytes, rows * cols, want.data());
    for (const auto* use : {static_cast<const std::vector<std::int32_t>*>(nullptr),
                            static_cast<const std::vector<std::int32_t>*>(&order)}) {
      const auto term = ggml_transcode(t->type, rows, cols, blob, use);
      ASSERT_TRUE(term.ok()) << t->name << term.error().message;
      EXPECT_EQ(ggml_exact_type(term->spec, cols), t->type);
      EXPECT_EQ(term->blob.bytes.size(), *blob_bytes(term->spec, rows, cols));
      CodedWeight w;
      w.rows = rows;
      w.cols = cols;
      w.terms.push_back(*term);
      ASSERT_TRUE(validate(w, t->block_weights != 1).ok());
      decode_rows(w, 0, rows, have.data());
      for (std::int64_t r = 0; r < rows; ++r) {
        const std::int64_t from = use != nullptr ? order[static_cast<std::size_t>(r)] : r;
        EXPECT_TRUE(same_bits(have.data() + r * cols, want.data() + from * cols, static_cast<std::size_t>(cols)))
            << t->name << " row " << r;
      }
    }
  }
}

TEST(Ggml, TranscodingAFileHoldsItOnce) {
  constexpr std::int64_t rows = 16384, cols = 2048;
  const testkit::TemporaryFolder folder;
  {
    Rng rng(12);
    const Buffer blocks = random_blocks(*ggml_traits(8), 64 * cols / 32, rng);
    std::ofstream out(folder / "blocks", std::ios::binary);
    for (std::int64_t r = 0; r < rows; r += 64)
      out.write(reinterpret_cast<const char*>(blocks.data()), static_cast<std::streamsize>(blocks.size()));
  }
  const auto file = MappedFile::open(folder / "blocks");
  ASSERT_TRUE(file.ok());
  if (!restart_peak_resident()) GTEST_SKIP() << "this system does not let a process write its clear_refs";
  const std::uint64_t before = resident_bytes();
  const auto term = ggml_transcode(GgmlType::q8_0, rows, cols, Blob::in(*file, (*file)->bytes()));
  ASSERT_TRUE(term.ok()) << term.error().message;
  EXPECT_LT(peak_resident_bytes(), before + term->blob.bytes.size() + (12 << 20));
}

TEST(Ggml, WritesTheBlocksItReads) {
  Rng rng(12);
  for (std::uint32_t id = 0; id < 64; ++id) {
    const GgmlTraits* t = ggml_traits(id);
    if (t == nullptr || t->block_weights == 1) continue;
    const Buffer blocks = random_blocks(*t, 20, rng);
    std::vector<std::byte> back(blocks.size());
    for (std::int64_t i = 0; i < 20; ++i) {
      GgmlBlock block;
      read_ggml_block(t->type, blocks.data() + i * t->block_bytes, block);
      write_ggml_block(t->type, block, back.data() + i * t->block_bytes);
    }
    EXPECT_EQ(std::memcmp(back.data(), blocks.data(), back.size()), 0) << t->name;
  }
}

/// The type that holds a weight, its values there checked to be the same bits; nullopt where there is none.
std::optional<GgmlType> held(const CodedWeight& w) {
  const auto type = ggml_holding_type(w);
  if (!type) return type;
  const GgmlTraits& t = *ggml_traits(static_cast<std::uint32_t>(*type));
  std::vector<std::byte> blocks(static_cast<std::size_t>(w.cols / t.block_weights * t.block_bytes));
  std::vector<float> want(static_cast<std::size_t>(w.cols)), have(want.size());
  for (std::int64_t r = 0; r < w.rows; ++r) {
    ggml_pack_row(*type, w, r, blocks.data());
    ggml_decode(*type, blocks, w.cols, have.data());
    decode_effective_rows(w, r, 1, want.data());
    // 0 and -0 are one value.
    EXPECT_TRUE(std::equal(want.begin(), want.end(), have.begin())) << t.name << " row " << r;
  }
  return type;
}

CodedWeight of_term(Term term, std::int64_t rows, std::int64_t cols) {
  CodedWeight w;
  w.rows = rows;
  w.cols = cols;
  w.terms.push_back(std::move(term));
  return w;
}

TEST(Ggml, CodesGoIntoTheSmallestTypeThatHoldsThem) {
  struct Case {
    IntGroupSpec spec;
    std::optional<GgmlType> type;
  };
  const auto spec = [](int bits, int group, ZeroKind zero, int offset) {
    return IntGroupSpec{bits, {.group = group}, zero, zero == ZeroKind::integer ? bits : 0, offset};
  };
  const Case cases[] = {
      {spec(4, 32, ZeroKind::constant, 8), GgmlType::q4_0},  {spec(4, 64, ZeroKind::constant, 8), GgmlType::q4_0},
      {spec(2, 128, ZeroKind::constant, 2), GgmlType::q4_0}, {spec(3, 1000, ZeroKind::constant, 4), GgmlType::q4_0},
      {spec(3, 64, ZeroKind::integer, 0), GgmlType::q4_0},   {spec(4, 64, ZeroKind::integer, 0), GgmlType::q5_0},
      {spec(5, 64, ZeroKind::integer, 0), GgmlType::q8_0},   {spec(5, 32, ZeroKind::constant, 16), GgmlType::q5_0},
      {spec(6, 64, ZeroKind::constant, 32), GgmlType::q8_0}, {spec(8, 96, ZeroKind::constant, 128), GgmlType::q8_0},
      {spec(8, 64, ZeroKind::integer, 0), std::nullopt},     {spec(4, 64, ZeroKind::f16_min, 0), GgmlType::q4_1},
      {spec(5, 32, ZeroKind::f16_min, 0), GgmlType::q5_1},   {spec(6, 32, ZeroKind::f16_min, 0), std::nullopt},
      {spec(4, 48, ZeroKind::constant, 8), std::nullopt},    {spec(4, 16, ZeroKind::constant, 8), std::nullopt},
      {spec(3, 64, ZeroKind::f16_min, 0), GgmlType::q4_1},
  };
  for (const Case& c : cases) {
    const CodedWeight w = of_term(testing::random_term(c.spec, 37, 576, 3), 37, 576);
    EXPECT_EQ(held(w), c.type) << describe(w.terms[0].spec);
  }
  // A row that blocks of 32 do not divide; another table; the k-quants' own codings.
  EXPECT_EQ(held(of_term(testing::random_term(cases[0].spec, 5, 80, 3), 5, 80)), std::nullopt);
  const LutGroupSpec whole{3, {.group = 64}, {-100, -7, -2, 0, 1, 3, 50, 127}},
      broken{1 + 1, {.group = 64}, {0, .5, 1, 2}};
  EXPECT_EQ(held(of_term(testing::random_term(whole, 5, 64, 3), 5, 64)), GgmlType::q8_0);
  EXPECT_EQ(held(of_term(testing::random_term(broken, 5, 64, 3), 5, 64)), std::nullopt);
  for (const GgmlType type : {GgmlType::q2_k, GgmlType::q3_k, GgmlType::q4_k, GgmlType::q5_k, GgmlType::q6_k,
                              GgmlType::iq4_nl, GgmlType::iq4_xs}) {
    Rng rng(5);
    const GgmlTraits& t = *ggml_traits(static_cast<std::uint32_t>(type));
    const std::int64_t cols = 512;
    auto term = ggml_transcode(type, 19, cols, Blob::of(random_blocks(t, 19 * cols / t.block_weights, rng)));
    ASSERT_TRUE(term.ok());
    EXPECT_EQ(held(of_term(*std::move(term), 19, cols)), type);
  }
  // Activation order: the groups are not those of the inputs.
  CodedWeight permuted = of_term(testing::random_term(cases[0].spec, 5, 64, 3), 5, 64);
  std::vector<std::uint32_t> order(64);
  for (std::uint32_t i = 0; i < 64; ++i) order[i] = 63 - i;
  permuted.input = *permutation_transform(order);
  EXPECT_EQ(held(permuted), std::nullopt);
}

TEST(Ggml, RefusesWhatDoesNotFit) {
  Buffer b(18 * 4);
  EXPECT_FALSE(ggml_transcode(GgmlType::q4_0, 2, 33, Blob::of(std::move(b))).ok());
  Buffer c(18 * 4);
  EXPECT_FALSE(ggml_transcode(GgmlType::q4_0, 3, 32, Blob::of(std::move(c))).ok());
  Buffer d(18);
  d.data()[1] = std::byte{0x7C};
  EXPECT_FALSE(ggml_transcode(GgmlType::q4_0, 1, 32, Blob::of(std::move(d))).ok());
  EXPECT_EQ(ggml_traits(16), nullptr);
  EXPECT_EQ(ggml_type_name(16), "IQ2_XXS");
  EXPECT_EQ(ggml_type_name(77), "type 77");
  const float bad[32] = {NAN};
  std::byte out[64];
  EXPECT_FALSE(ggml_encode(GgmlType::q8_0, bad, 32, out).ok());
  EXPECT_FALSE(ggml_encode(GgmlType::q4_k, bad, 32, out).ok());
}

}  // namespace
}  // namespace sparing
