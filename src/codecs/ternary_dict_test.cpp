#include "codecs/ternary_dict.h"

#include <gtest/gtest.h>

#include <set>

#include "base/rng.h"
#include "codecs/random_weights.h"

namespace sparing {
namespace {

/// In a random order, exactly that share of zeros: rates then do not depend on the draw.
std::vector<std::uint8_t> planted(std::int64_t count, double zeros, std::uint64_t seed) {
  Rng rng(seed);
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < codes.size(); ++i)
    if (static_cast<double>(i) >= zeros * static_cast<double>(count)) codes[i] = static_cast<std::uint8_t>(1 + i % 2);
  for (std::size_t i = codes.size(); i > 1; --i) std::swap(codes[i - 1], codes[rng.below(i)]);
  return codes;
}

std::vector<std::uint16_t> levels_of(std::int64_t rows) {
  std::vector<std::uint16_t> levels;
  for (std::int64_t r = 0; r < rows; ++r) {
    levels.push_back(f32_to_f16(static_cast<float>(-r - 1)));
    levels.push_back(f32_to_f16(static_cast<float>(2 * r + 1)));
  }
  return levels;
}

CodedWeight weight_of(std::int64_t rows, std::int64_t cols, Term term) {
  CodedWeight w;
  w.rows = rows;
  w.cols = cols;
  w.terms.push_back(std::move(term));
  return w;
}

// The dictionary is a file format. Its first words are runs of zeros: of 2 weights, 4, ... ; all words differ, hold no
// fourth code, and begin with words.
TEST(TernaryDict, DictionaryIsPinned) {
  const auto words = ternary_dictionary();
  ASSERT_EQ(words.size(), kTernaryWords);
  EXPECT_EQ(words[0], std::uint64_t{2} << 56);
  EXPECT_EQ(words[1], std::uint64_t{4} << 56);
  std::set<std::uint64_t> all(words.begin(), words.end());
  EXPECT_EQ(all.size(), kTernaryWords);
  std::uint64_t checksum = 0;
  for (const std::uint64_t word : words) {
    checksum = checksum * 1099511628211ull + word;
    const int length = ternary_length(word);
    ASSERT_TRUE(length >= 2 && length <= 28 && length % 2 == 0);
    for (int i = 0; i < length; ++i) ASSERT_NE((word >> (2 * i)) & 3u, 3u);
    if (length == 2) continue;
    const std::uint64_t shorter =
        (word & ((std::uint64_t{1} << (2 * (length - 2))) - 1)) | (static_cast<std::uint64_t>(length - 2) << 56);
    ASSERT_TRUE(all.contains(shorter));
  }
  EXPECT_EQ(checksum, 16791252003719532456ull);
}

TEST(TernaryDict, RoundTripsExactly) {
  for (const double zeros : {0.0, 0.3, 0.885, 1.0})
    for (const auto& [rows, cols] : {std::pair<std::int64_t, std::int64_t>{1, 1}, {7, 61}, {20, 576}}) {
      const std::vector<std::uint8_t> codes = planted(rows * cols, zeros, 5);
      const Term term = pack_ternary(rows, cols, codes, levels_of(rows)).value();
      EXPECT_EQ(term.blob.bytes.size(), *blob_bytes(term.spec, rows, cols));
      const CodedWeight weight = weight_of(rows, cols, term);
      const Status valid = validate(weight, true);
      ASSERT_TRUE(valid.ok()) << valid.error().message;
      const TernaryLayout l = *layout_of(std::get<TernaryDictSpec>(term.spec), rows, cols);
      std::vector<float> decoded(codes.size());
      decode_rows(weight, 0, rows, decoded.data());
      for (std::int64_t r = 0; r < rows; ++r) {
        std::vector<std::uint8_t> row(static_cast<std::size_t>(cols));
        read_ternary_row(l, term.blob.bytes.data(), cols, r, row.data());
        for (std::int64_t c = 0; c < cols; ++c) {
          const auto i = static_cast<std::size_t>(r * cols + c);
          ASSERT_EQ(row[static_cast<std::size_t>(c)], codes[i]);
          const float levels[] = {0, static_cast<float>(-r - 1), static_cast<float>(2 * r + 1)};
          ASSERT_EQ(decoded[i], levels[codes[i]]);
        }
      }
    }
}

// Bits a weight: the paper's rates without ends of rows; rows of 576 end in short words, and have 64 bits of metadata.
TEST(TernaryDict, BitsPerWeightAreThePapers) {
  const auto bits = [](std::int64_t rows, std::int64_t cols, double zeros, bool metadata) {
    const Term term = pack_ternary(rows, cols, planted(rows * cols, zeros, 7), levels_of(rows)).value();
    const double words = static_cast<double>(std::get<TernaryDictSpec>(term.spec).words) * 16;
    return (metadata ? 8 * static_cast<double>(term.blob.bytes.size()) : words) / static_cast<double>(rows * cols);
  };
  EXPECT_NEAR(bits(1, 400000, 0.885, false), 0.737, 0.004);
  EXPECT_NEAR(bits(1, 400000, 0.80, false), 1.12, 0.005);
  EXPECT_NEAR(bits(1, 400000, 0.70, false), 1.69, 0.005);
  EXPECT_NEAR(bits(800, 576, 0.885, false), 0.748, 0.004);
  EXPECT_NEAR(bits(800, 576, 0.885, true), 0.860, 0.004);
}

TEST(TernaryDict, DamageIsRefused) {
  const Term good = pack_ternary(5, 100, planted(500, 0.8, 3), levels_of(5)).value();
  const TernaryLayout l = *layout_of(std::get<TernaryDictSpec>(good.spec), 5, 100);
  const auto refused = [&](std::size_t at, int value, bool deep) {
    Buffer broken(good.blob.bytes.size());
    std::copy(good.blob.bytes.begin(), good.blob.bytes.end(), broken.data());
    broken.data()[at] = static_cast<std::byte>(value);
    const Status status = validate(weight_of(5, 100, Term{good.spec, Blob::of(std::move(broken))}), deep);
    return !status.ok() && status.error().message.find("ternary_dict") != std::string::npos;
  };
  EXPECT_TRUE(refused(0, 1, false));
  EXPECT_TRUE(refused(4, 255, false));
  EXPECT_TRUE(refused(7, 255, false));
  EXPECT_TRUE(refused(20, 1, false));
  EXPECT_TRUE(refused(l.levels + 1, 0x7C, true));
  // A word of another length: the row no longer ends where it should.
  const auto first = static_cast<std::size_t>(std::to_integer<int>(good.blob.bytes[l.words]) |
                                              std::to_integer<int>(good.blob.bytes[l.words + 1]) << 8);
  const auto words = ternary_dictionary();
  for (int low = 0; low < 256; ++low) {
    const std::size_t other = (first & 0xFF00u) | static_cast<std::size_t>(low);
    if (ternary_length(words[other]) == ternary_length(words[first])) continue;
    EXPECT_TRUE(refused(l.words, low, false));
    break;
  }
  const Status spec = validate(CodecSpec(TernaryDictSpec{-1}), 4, 4);
  ASSERT_FALSE(spec.ok());
  EXPECT_NE(spec.error().message.find("words"), std::string::npos);
  EXPECT_FALSE(validate(CodecSpec(TernaryDictSpec{1ll << 32}), 4, 4).ok());
}

}  // namespace
}  // namespace sparing
