#include "codecs/int_rows.h"

#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "codecs/codec_json.h"
#include "codecs/random_weights.h"

namespace sparing {
namespace {

using testing::int_group_zoo;
using testing::random_int_rows;
using testing::random_parts;
using testing::random_term;

CodedWeight weight_of(std::int64_t rows, std::int64_t cols, std::vector<Term> terms) {
  return {.rows = rows, .cols = cols, .input = {}, .terms = std::move(terms)};
}

std::vector<float> values(const CodedWeight& w) {
  std::vector<float> all(static_cast<std::size_t>(w.rows * w.cols));
  decode_rows(w, 0, w.rows, all.data());
  return all;
}

// Its rows are those of an int_group of them alone, added to what is there; all others stay.
TEST(IntRows, AddsItsRows) {
  const std::int64_t rows = 38, cols = 75;
  const Term base = random_term(IntGroupSpec{.bits = 4, .groups = {.group = 32}}, rows, cols, 1);
  const std::vector<std::uint32_t> index = {0, 3, 17, 18, 37};
  for (const IntGroupSpec& spec : int_group_zoo()) {
    Rng rng(2);
    const IntGroupParts parts = random_parts(spec, 5, cols, rng);
    const CodedWeight alone = weight_of(5, cols, {*pack(spec, 5, cols, parts)}),
                      both = weight_of(rows, cols, {base, *pack_int_rows(spec, rows, cols, index, parts)});
    ASSERT_TRUE(validate(both, true).ok());
    EXPECT_EQ(both.terms[1].blob.bytes.size(), *blob_bytes(both.terms[1].spec, rows, cols));
    std::vector<float> want = values(weight_of(rows, cols, {base})), one(static_cast<std::size_t>(cols));
    const std::vector<float> rest = values(alone), all = values(both);
    for (std::size_t i = 0; i < rest.size(); ++i) want[index[i / 75] * 75 + i % 75] += rest[i];
    EXPECT_EQ(all, want) << describe(spec);
    for (const std::int64_t r : {0, 1, 17, 37}) {
      decode_rows(both, r, 1, one.data());
      EXPECT_TRUE(std::equal(one.begin(), one.end(), want.begin() + r * cols)) << r;
    }
  }
}

// The stored layout is a file format.
TEST(IntRows, LayoutIsPinned) {
  const IntGroupSpec spec{.bits = 8, .groups = {.group = 32}, .zero_offset = 0};
  IntGroupParts parts;
  parts.codes.assign(2 * 32, 0);
  parts.codes[32] = 0xAB;
  parts.scale_f16 = {0x3C00, 0x4000};
  const Term t = *pack_int_rows(spec, 70000, 32, {9, 65537}, parts);
  ASSERT_EQ(t.blob.bytes.size(), 64u + 8 * 64 + 64);
  const auto byte = [&](std::size_t i) { return static_cast<int>(t.blob.bytes[i]); };
  EXPECT_EQ(byte(0), 9);
  EXPECT_EQ(byte(4) | byte(5) << 8 | byte(6) << 16, 65537);
  EXPECT_EQ(byte(64 + 4), 0xAB);  // row 1 of its own
  EXPECT_EQ(byte(64 + 512 + 2) | byte(64 + 512 + 3) << 8, 0x4000);
}

TEST(IntRows, WhatIsBrokenIsRefused) {
  const IntGroupSpec spec{.bits = 5, .groups = {.group = 32}, .zero_offset = 0};
  const Term base = random_term(IntGroupSpec{.bits = 4, .groups = {.group = 32}}, 20, 64, 1),
             good = random_int_rows(spec, 20, 64, 2);
  ASSERT_TRUE(validate(weight_of(20, 64, {base, good}), true).ok());
  EXPECT_FALSE(validate(weight_of(20, 64, {good, base}), true).ok()) << "nothing holds the other rows";
  const auto with = [&](std::size_t at, std::byte value) {
    Buffer broken(good.blob.bytes.size());
    std::copy(good.blob.bytes.begin(), good.blob.bytes.end(), broken.data());
    broken.data()[at] = value;
    return weight_of(20, 64, {base, Term{good.spec, Blob::of(std::move(broken))}});
  };
  for (const CodedWeight& w : {with(0, std::byte{200}), with(5, std::byte{1}), with(4, std::byte{1})}) {
    const Status status = validate(w, false);
    ASSERT_FALSE(status.ok());
    EXPECT_NE(status.error().message.find("[int_rows] row"), std::string::npos) << status.error().message;
  }
  const IntRowsLayout l = *layout_of(std::get<IntRowsSpec>(good.spec), 20, 64);
  const CodedWeight infinite = with(static_cast<std::size_t>(l.codes + l.of_codes.scales) + 1, std::byte{0x7C});
  EXPECT_TRUE(validate(infinite, false).ok());
  EXPECT_FALSE(validate(infinite, true).ok());
  for (const std::int64_t count : {std::int64_t{0}, std::int64_t{21}, std::int64_t{1} << 40}) {
    const Status status = validate(CodecSpec(IntRowsSpec{count, spec}), 20, 64);
    ASSERT_FALSE(status.ok());
    EXPECT_NE(status.error().message.find("[int_rows] count"), std::string::npos) << status.error().message;
  }
  EXPECT_FALSE(validate(CodecSpec(IntRowsSpec{3, {.bits = 9}}), 20, 64).ok());
  Rng rng(3);
  const IntGroupParts parts = random_parts(spec, 2, 64, rng);
  EXPECT_FALSE(pack_int_rows(spec, 20, 64, {4, 4}, parts).ok());
  EXPECT_FALSE(pack_int_rows(spec, 20, 64, {4, 20}, parts).ok());
  EXPECT_FALSE(pack_int_rows(spec, 20, 64, {4, 5, 6}, parts).ok()) << "codes of two rows";
}

TEST(IntRows, RoundTripsThroughJson) {
  for (const IntGroupSpec& codes : int_group_zoo()) {
    const CodecSpec spec = IntRowsSpec{7, codes};
    const auto back = spec_from_json(nlohmann::json::parse(spec_to_json(spec).dump()));
    ASSERT_TRUE(back.ok()) << back.error().message;
    EXPECT_TRUE(*back == spec) << describe(spec);
  }
  nlohmann::json json = spec_to_json(IntRowsSpec{7, {}});
  json["count"] = 0;
  EXPECT_FALSE(spec_from_json(json).ok());
  EXPECT_EQ(describe(IntRowsSpec{7, {.bits = 5, .groups = {.group = 128}, .zero_offset = 0}}),
            "int_rows 7 5b g128 f16 z0");
}

}  // namespace
}  // namespace sparing
