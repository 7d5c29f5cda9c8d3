#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "base/testing.h"
#include "codecs/random_weights.h"
#include "kernels/linear.h"

namespace sparing::kernels {
namespace {

using sparing::testing::int_group_zoo;
using sparing::testing::random_csr;
using sparing::testing::random_dense;
using sparing::testing::random_int_rows;
using sparing::testing::random_lowrank;
using sparing::testing::random_sign_lowrank;
using sparing::testing::random_term;
using sparing::testing::random_ternary;
using sparing::testing::vq_additive_zoo;

std::vector<float> product(const Linear& linear, const std::vector<float>& x) {
  Workspace workspace;
  ThreadPool pool(1);
  std::vector<float> y(static_cast<std::size_t>(linear.rows()));
  const Product one{&linear, y.data(), linear.rows(), nullptr};
  matmul({&one, 1}, x.data(), 1, linear.cols(), workspace, pool);
  return y;
}

TEST(Relocate, MovesEveryTermAndKeepsTheProduct) {
  constexpr std::int64_t rows = 50, cols = 96;
  std::vector<Term> bases;
  for (const auto& spec : int_group_zoo()) bases.push_back(random_term(spec, rows, cols, 1));
  bases.push_back(random_term(LutGroupSpec{2, {.group = 32}, {-127, -3, 8, 127}}, rows, cols, 2));
  bases.push_back(random_term(LutGroupSpec{2, {.group = 16}, {-1, -0.25f, 0.25f, 1}}, rows, cols, 3));
  for (const auto& spec : vq_additive_zoo()) bases.push_back(random_term(spec, rows, cols, 7));
  bases.push_back(random_ternary(rows, cols, 0.8, 8));
  bases.push_back(random_dense(DType::f16, rows, cols, 4));
  Rng rng(5);
  std::vector<float> x(cols);
  for (float& v : x) v = static_cast<float>(rng.normal());
  for (const Term& base : bases) {
    CodedWeight weight{
        .rows = rows,
        .cols = cols,
        .input = {},
        .terms = {base, random_csr(rows, cols, 0.1, 6), random_lowrank({2, {8, 16}, {4, 16}}, rows, cols, 7),
                  random_sign_lowrank({{2, {8, 16}, {4, 16}}}, rows, cols, 8),
                  random_int_rows({.bits = 5, .groups = {.group = 32}, .zero_offset = 0}, rows, cols, 9)}};
    auto linear = Linear::prepare(std::move(weight));
    ASSERT_TRUE(linear.ok()) << linear.error().message;
    const std::vector<float> before = product(*linear, x);
    Arena arena(1 << 20);
    EXPECT_EQ(linear->relocate(arena), linear->bytes_read());
    for (const Term& term : linear->weight().terms) EXPECT_TRUE(arena.holds(term.blob)) << codec_name(base.spec);
    EXPECT_EQ(product(*linear, x), before) << codec_name(base.spec);
    EXPECT_EQ(linear->relocate(arena), 0u) << "what is there stays";
  }
}

TEST(Relocate, WhatDoesNotFitStaysUsable) {
  CodedWeight weight{.rows = 64, .cols = 512, .input = {}, .terms = {random_dense(DType::f32, 64, 512, 7)}};
  auto linear = Linear::prepare(std::move(weight));
  ASSERT_TRUE(linear.ok());
  const std::vector<float> x(512, 0.5f), before = product(*linear, x);
  Arena none(0);
  EXPECT_EQ(linear->relocate(none), 0u);
  EXPECT_EQ(product(*linear, x), before);
}

// A weight read in place, as from a Sparing directory, no longer needs its file once it has moved.
TEST(Relocate, AMappedWeightOutlivesItsFile) {
  const testkit::TemporaryFolder folder;
  const Term stored = random_dense(DType::f32, 48, 128, 8);
  {
    std::ofstream out(folder / "weights", std::ios::binary);
    out.write(reinterpret_cast<const char*>(stored.blob.bytes.data()),
              static_cast<std::streamsize>(stored.blob.bytes.size()));
  }
  const std::vector<float> x(128, 0.25f);
  auto opened = MappedFile::open(folder / "weights");
  ASSERT_TRUE(opened.ok());
  std::weak_ptr<const MappedFile> map = *opened;
  Term term{stored.spec, Blob::in(*opened, (*opened)->bytes())};
  opened->reset();
  auto linear = Linear::prepare({.rows = 48, .cols = 128, .input = {}, .terms = {std::move(term)}});
  ASSERT_TRUE(linear.ok());
  const std::vector<float> before = product(*linear, x);
  EXPECT_FALSE(map.expired());
  {
    Arena arena(1 << 20);
    linear->relocate(arena);
  }
  EXPECT_TRUE(map.expired());
  EXPECT_EQ(product(*linear, x), before);
}

}  // namespace
}  // namespace sparing::kernels
