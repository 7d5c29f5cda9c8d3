#pragma once
// Random weights of every coding, for the tests of codecs and kernels.

#include <vector>

#include "base/rng.h"
#include "codecs/csr.h"
#include "codecs/int_group.h"
#include "codecs/int_rows.h"
#include "codecs/lowrank.h"
#include "codecs/sign_lowrank.h"
#include "codecs/ternary_dict.h"
#include "codecs/vq_additive.h"
#include "tensor/half.h"

namespace sparing::testing {

inline std::uint16_t random_f16(Rng& rng, double size = 0.01) {
  return f32_to_f16(static_cast<float>(rng.normal() * size));
}

inline IntGroupParts random_parts(const IntGroupSpec& s, std::int64_t rows, std::int64_t cols, Rng& rng) {
  const IntGroupLayout l = *layout_of(s, rows, cols);
  IntGroupParts p;
  const auto fill = [&](std::vector<std::uint8_t>& v, std::int64_t n, int bits) {
    for (std::int64_t i = 0; i < n; ++i) v.push_back(static_cast<std::uint8_t>(rng.below(1ull << bits)));
  };
  const auto fill_f16 = [&](std::vector<std::uint16_t>& v, std::int64_t n, double size) {
    for (std::int64_t i = 0; i < n; ++i) v.push_back(random_f16(rng, size));
  };
  fill(p.codes, rows * cols, s.bits);
  if (s.groups.scale == ScaleKind::f16) {
    fill_f16(p.scale_f16, rows * l.groups, 0.01);
  } else {
    fill(p.scale_codes, rows * l.groups, s.groups.scale_bits);
    fill_f16(p.scale_super, rows * l.supers, 0.001);
  }
  if (s.zero == ZeroKind::integer || s.zero == ZeroKind::coded_min) fill(p.zero_codes, rows * l.groups, s.zero_bits);
  if (s.zero == ZeroKind::f16_min) fill_f16(p.zero_f16, rows * l.groups, 0.1);
  if (s.zero == ZeroKind::coded_min) fill_f16(p.zero_super, rows * l.supers, 0.01);
  return p;
}

inline VqParts random_parts(const VqAdditiveSpec& s, std::int64_t rows, std::int64_t cols, Rng& rng) {
  const VqLayout l = *layout_of(s, rows, cols);
  IntGroupParts scales = random_parts(as_int_group(s), rows, cols, rng);
  VqParts p{{}, {}, std::move(scales.scale_f16), std::move(scales.scale_codes), std::move(scales.scale_super)};
  for (std::int64_t i = 0; i < rows * l.vectors * s.books; ++i)
    p.codes.push_back(static_cast<std::uint8_t>(rng.below(1ull << s.bits)));
  // The widest that two books may be.
  const std::uint64_t span = s.books == 1 ? 256 : 128;
  for (std::int64_t i = 0; i < (s.books * s.vector) << s.bits; ++i)
    p.books.push_back(static_cast<std::int8_t>(static_cast<int>(rng.below(span)) - static_cast<int>(span / 2)));
  return p;
}

template <class Spec>
Term random_term(const Spec& s, std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
  Rng rng(seed);
  if constexpr (std::is_same_v<Spec, LutGroupSpec>) {
    return *pack(s, rows, cols, random_parts(as_int_group(s), rows, cols, rng));
  } else {
    return *pack(s, rows, cols, random_parts(s, rows, cols, rng));
  }
}

/// Every third row.
inline Term random_int_rows(const IntGroupSpec& s, std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
  Rng rng(seed);
  std::vector<std::uint32_t> index;
  for (std::int64_t r = (rows - 1) % 3; r < rows; r += 3) index.push_back(static_cast<std::uint32_t>(r));
  return *pack_int_rows(s, rows, cols, index, random_parts(s, static_cast<std::int64_t>(index.size()), cols, rng));
}

inline Term random_csr(std::int64_t rows, std::int64_t cols, double density, std::uint64_t seed) {
  Rng rng(seed);
  std::vector<std::uint32_t> start{0}, columns;
  std::vector<std::uint16_t> values;
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t c = 0; c < cols; ++c)
      if (rng.uniform() < density) {
        columns.push_back(static_cast<std::uint32_t>(c));
        values.push_back(random_f16(rng, 0.3));
      }
    start.push_back(static_cast<std::uint32_t>(columns.size()));
  }
  return *pack_csr(rows, cols, start, columns, values);
}

inline Term random_ternary(std::int64_t rows, std::int64_t cols, double zeros, std::uint64_t seed) {
  Rng rng(seed);
  std::vector<std::uint8_t> codes;
  std::vector<std::uint16_t> levels;
  for (std::int64_t i = 0; i < rows * cols; ++i)
    codes.push_back(rng.uniform() < zeros ? std::uint8_t{0} : static_cast<std::uint8_t>(1 + rng.below(2)));
  for (std::int64_t i = 0; i < 2 * rows; ++i) levels.push_back(random_f16(rng, 0.1));
  return *pack_ternary(rows, cols, codes, levels);
}

inline Term random_dense(DType dtype, std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
  Rng rng(seed);
  Buffer buffer(static_cast<std::size_t>(rows * cols) * size_of(dtype));
  for (std::int64_t i = 0; i < rows * cols; ++i) {
    const auto v = static_cast<float>(rng.normal() * 0.1);
    if (dtype == DType::f32) {
      buffer.as<float>()[static_cast<std::size_t>(i)] = v;
    } else {
      buffer.as<std::uint16_t>()[static_cast<std::size_t>(i)] = dtype == DType::f16 ? f32_to_f16(v) : f32_to_bf16(v);
    }
  }
  return Term{DenseSpec{dtype}, Blob::of(std::move(buffer))};
}

inline FactorParts random_factor(const FactorSpec& s, std::int64_t rank, std::int64_t n, Rng& rng) {
  FactorParts p;
  for (std::int64_t i = 0; i < rank * n; ++i)
    p.codes.push_back(s.bits == 16 ? random_f16(rng, 0.3) : static_cast<std::uint16_t>(rng.below(1ull << s.bits)));
  const std::int64_t groups = s.bits == 16 ? 0 : (n + s.group - 1) / s.group;
  for (std::int64_t i = 0; i < rank * groups; ++i) p.scales.push_back(random_f16(rng, 0.02));
  return p;
}

inline Term random_lowrank(const LowRankSpec& s, std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
  Rng rng(seed);
  const FactorParts inner = random_factor(s.inner, s.rank, cols, rng);
  return *pack(s, rows, cols, inner, random_factor(s.outer, s.rank, rows, rng));
}

inline Term random_sign_lowrank(const SignLowRankSpec& s, std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
  Rng rng(seed);
  std::vector<std::uint8_t> minus(static_cast<std::size_t>(rows * cols));
  for (std::uint8_t& m : minus) m = static_cast<std::uint8_t>(rng.below(2));
  const FactorParts inner = random_factor(s.magnitude.inner, s.magnitude.rank, cols, rng);
  return *pack(s, rows, cols, minus, inner, random_factor(s.magnitude.outer, s.magnitude.rank, rows, rng));
}

/// Ranks and factor codings that a matrix of these sizes can have.
inline std::vector<LowRankSpec> lowrank_zoo(std::int64_t rows, std::int64_t cols) {
  std::vector<LowRankSpec> zoo;
  const FactorSpec half{16, 0}, byte{8, 64}, nibble{4, 16}, nibble_row{4, 1 << 20};
  for (const std::int32_t rank : {1, 3, 4, 8, 13, 16, 40}) {
    if (rank > std::min(rows, cols)) continue;
    for (const FactorSpec& inner : {half, byte, nibble}) zoo.push_back({rank, inner, nibble_row});
    for (const FactorSpec& outer : {half, byte, nibble}) zoo.push_back({rank, FactorSpec{8, 32}, outer});
  }
  return zoo;
}

/// Every shape of vq_additive, and scales of either kind.
inline std::vector<VqAdditiveSpec> vq_additive_zoo() {
  std::vector<VqAdditiveSpec> zoo;
  for (const int vector : {1, 4, 8})
    for (const int books : {1, 2}) {
      if (vector == 1 && books == 2) continue;
      for (int bits = 2; bits <= 8; ++bits)
        zoo.push_back({.vector = vector, .books = books, .bits = bits, .groups = {.group = 1 << 20}});
      for (const int group : {16, 24, 32, 64, 7})
        zoo.push_back({.vector = vector, .books = books, .bits = 8, .groups = {.group = group}});
      zoo.push_back(
          {.vector = vector,
           .books = books,
           .bits = 5,
           .groups = {.group = 32, .scale = ScaleKind::coded, .scale_bits = 6, .scale_offset = 32, .super = 3}});
    }
  return zoo;
}

/// Every shape of int_group: all widths, all scale and zero kinds, groups that do and do not fit blocks.
inline std::vector<IntGroupSpec> int_group_zoo() {
  std::vector<IntGroupSpec> zoo;
  const GroupSpec coded6{.group = 32, .scale = ScaleKind::coded, .scale_bits = 6, .scale_offset = 0, .super = 8};
  for (int bits = 2; bits <= 8; ++bits) {
    zoo.push_back({.bits = bits, .groups = {.group = 32}, .zero_offset = 1 << (bits - 1)});
    zoo.push_back(
        {.bits = bits, .groups = {.group = 64}, .zero = ZeroKind::integer, .zero_bits = bits, .zero_offset = 0});
    zoo.push_back({.bits = bits, .groups = {.group = 32}, .zero = ZeroKind::f16_min, .zero_offset = 0});
    zoo.push_back({.bits = bits, .groups = coded6, .zero = ZeroKind::coded_min, .zero_bits = 6, .zero_offset = 0});
  }
  for (const int group : {1, 3, 4, 12, 16, 20, 48, 50, 100, 128, 1 << 20}) {
    zoo.push_back({.bits = 4, .groups = {.group = group}, .zero_offset = 8});
    zoo.push_back({.bits = 3, .groups = {.group = group}, .zero = ZeroKind::f16_min, .zero_offset = 0});
    zoo.push_back({.bits = 5, .groups = {.group = group}, .zero = ZeroKind::integer, .zero_bits = 3, .zero_offset = 0});
  }
  for (int bits = 1; bits <= 8; ++bits)
    zoo.push_back(
        {.bits = 4,
         .groups =
             {.group = 16, .scale = ScaleKind::coded, .scale_bits = bits, .scale_offset = 1 << (bits - 1), .super = 3},
         .zero = ZeroKind::coded_min,
         .zero_bits = 9 - bits,
         .zero_offset = 0});
  return zoo;
}

}  // namespace sparing::testing
