#include "codecs/vq_additive.h"

#include <gtest/gtest.h>

#include "codecs/random_weights.h"

namespace sparing {
namespace {

using testing::random_parts;
using testing::vq_additive_zoo;

CodedWeight weight_of(std::int64_t rows, std::int64_t cols, Term term) {
  CodedWeight w;
  w.rows = rows;
  w.cols = cols;
  w.terms.push_back(std::move(term));
  return w;
}

TEST(VqAdditive, PackUnpackKeepsEveryField) {
  for (const auto& spec : vq_additive_zoo())
    for (const auto& [rows, cols] : {std::pair<std::int64_t, std::int64_t>{1, 1}, {17, 61}, {16, 256}, {3, 577}}) {
      Rng rng(7);
      const VqParts parts = random_parts(spec, rows, cols, rng);
      const auto term = pack(spec, rows, cols, parts);
      ASSERT_TRUE(term.ok()) << describe(spec);
      EXPECT_EQ(term->blob.bytes.size(), *blob_bytes(spec, rows, cols));
      const auto back = unpack_vq(*term, rows, cols);
      ASSERT_TRUE(back.ok());
      EXPECT_EQ(back->codes, parts.codes) << describe(spec);
      EXPECT_EQ(back->books, parts.books);
      EXPECT_EQ(back->scale_f16, parts.scale_f16);
      EXPECT_EQ(back->scale_codes, parts.scale_codes);
      EXPECT_EQ(back->scale_super, parts.scale_super);
      EXPECT_TRUE(validate(weight_of(rows, cols, *term), true).ok());
    }
}

TEST(VqAdditive, DecodesByItsFormula) {
  const VqAdditiveSpec spec{.vector = 4, .books = 2, .bits = 3, .groups = {.group = 5}};
  const std::int64_t rows = 18, cols = 43, vectors = 11, groups = 9;
  Rng rng(3);
  const VqParts p = random_parts(spec, rows, cols, rng);
  const CodedWeight w = weight_of(rows, cols, *pack(spec, rows, cols, p));
  std::vector<float> out(static_cast<std::size_t>(2 * cols));
  decode_rows(w, 16, 2, out.data());
  for (std::int64_t r = 16; r < 18; ++r)
    for (std::int64_t c = 0; c < cols; ++c) {
      const auto at = static_cast<std::size_t>((r * vectors + c / 4) * 2), j = static_cast<std::size_t>(c % 4);
      const int sum = p.books[p.codes[at] * 4u + j] + p.books[32 + p.codes[at + 1] * 4u + j];
      EXPECT_EQ(out[static_cast<std::size_t>((r - 16) * cols + c)],
                f16_to_f32(p.scale_f16[static_cast<std::size_t>(r * groups + c / 5)]) * static_cast<float>(sum));
    }
}

// The stored layout is a file format: pinned by hand. 9 vectors of 4 in two books are 6 quads; of 6 bits, planes of 4
// and 2, they fill 3 and 2 chunks.
TEST(VqAdditive, LayoutIsPinned) {
  const VqAdditiveSpec spec{.vector = 4, .books = 2, .bits = 6, .groups = {.group = 64}};
  VqParts p;
  p.codes.assign(2 * 9 * 2, 0);
  p.codes[18 + 2 * 6 + 1] = 0x2D;  // row 1, vector 6, book 1: quad 3, lane 2
  p.books.assign(2 * 64 * 4, 0);
  p.books[64 * 4 + 0x2D * 4 + 3] = -5;
  p.scale_f16 = {0x3C00, 0x4000};
  const Term t = *pack(spec, 2, 36, p);
  const auto byte = [&](std::size_t i) { return static_cast<int>(t.blob.bytes[i]); };
  ASSERT_EQ(t.blob.bytes.size(), 5 * 64u + 64u + 512u);
  EXPECT_EQ(byte(64 + 4 + 2), 0xD0);          // plane of 4: quads 2, 3 in chunk 1, high nibble
  EXPECT_EQ(byte(3 * 64 + 4 + 2), 0x2 << 6);  // plane of 2 from chunk 3: quads 0..3 in its first, top pair
  EXPECT_EQ(byte(320 + 2) | byte(320 + 3) << 8, 0x4000);
  EXPECT_EQ(byte(384 + 64 * 4 + 0x2D * 4 + 3), 0xFB);
  int others = 0;
  for (std::size_t i = 0; i < 320; ++i) others += byte(i) != 0;
  EXPECT_EQ(others, 2);
}

// A table in the blob: all but the table is a lut_group, byte for byte.
TEST(VqAdditive, VectorsOfOneAreALutGroup) {
  const VqAdditiveSpec spec{.vector = 1, .books = 1, .bits = 3, .groups = {.group = 16}};
  Rng rng(4);
  const VqParts p = random_parts(spec, 20, 70, rng);
  IntGroupParts numbers;
  numbers.codes = p.codes;
  numbers.scale_f16 = p.scale_f16;
  const Term lut = *pack(LutGroupSpec{3, {.group = 16}, {p.books.begin(), p.books.end()}}, 20, 70, numbers),
             table = *pack(spec, 20, 70, p);
  ASSERT_EQ(table.blob.bytes.size(), lut.blob.bytes.size() + 64);
  EXPECT_TRUE(std::equal(lut.blob.bytes.begin(), lut.blob.bytes.end(), table.blob.bytes.begin()));
  std::vector<float> a(20 * 70), b(a);
  decode_rows(weight_of(20, 70, lut), 0, 20, a.data());
  decode_rows(weight_of(20, 70, table), 0, 20, b.data());
  EXPECT_EQ(a, b);
}

// 8 bits: no padding but the panel's rows. 576 inputs in 2 books of 8 are 2 bits a weight.
TEST(VqAdditive, BytesAreWhatTheBitsSay) {
  const VqAdditiveSpec two{.vector = 8, .books = 2, .bits = 8, .groups = {.group = 576}};
  EXPECT_EQ(*blob_bytes(two, 1536, 576), 1536u * 576 / 4 + 1536 * 2 + 4096);
  const VqAdditiveSpec one{.vector = 4, .books = 1, .bits = 8, .groups = {.group = 64}};
  EXPECT_EQ(*blob_bytes(one, 1536, 576), 1536u * 576 / 4 + 1536 * 9 * 2 + 1024);
}

TEST(VqAdditive, BadSpecsAndBooksAreRefused) {
  const auto refused = [](const VqAdditiveSpec& s, const char* field) {
    const Status status = validate(CodecSpec(s), 4, 64);
    ASSERT_FALSE(status.ok()) << field;
    EXPECT_NE(status.error().message.find(field), std::string::npos) << status.error().message;
  };
  refused({.vector = 6}, "vector");
  refused({.books = 3}, "books");
  refused({.vector = 1, .books = 2}, "books");
  refused({.books = 0}, "books");
  refused({.bits = 9}, "bits");
  refused({.bits = 1}, "bits");
  refused({.groups = {.group = 0}}, "group");
  refused({.groups = {.group = 8, .super = 2}}, "super");
  EXPECT_FALSE(blob_bytes(VqAdditiveSpec{}, 1ll << 40, 1ll << 40).ok());

  const VqAdditiveSpec spec{.vector = 4, .books = 2, .bits = 2, .groups = {.group = 64}};
  Rng rng(1);
  VqParts p = random_parts(spec, 4, 64, rng);
  p.books[5] = 127;
  p.books[16 + 1] = 1;  // the same place of another entry of the other book
  EXPECT_FALSE(pack(spec, 4, 64, p).ok());
  p.books[5] = 0;
  const Term good = *pack(spec, 4, 64, p);
  Buffer broken(good.blob.bytes.size());
  std::copy(good.blob.bytes.begin(), good.blob.bytes.end(), broken.data());
  const VqLayout l = *layout_of(spec, 4, 64);
  broken.data()[l.books + 5] = std::byte{127};
  broken.data()[l.books + 16 + 1] = std::byte{1};
  const Status status = validate(weight_of(4, 64, Term{spec, Blob::of(std::move(broken))}), false);
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message.find("books"), std::string::npos) << status.error().message;
  p.scale_f16[1] = 0x7C00;
  const CodedWeight infinite = weight_of(4, 64, *pack(spec, 4, 64, p));
  EXPECT_TRUE(validate(infinite, false).ok());
  EXPECT_FALSE(validate(infinite, true).ok());
}

}  // namespace
}  // namespace sparing
