// Keys and values in int16 over simd.h; included by one unit per instruction set. Layout: KvHead in ops.h.
#pragma once
#include "runtime/ops.h"
#include "runtime/simd.h"

namespace sparing {
namespace {

// Codes are short enough for a sum of products over a head's channels, or over a block's positions, to stay below 2^31.
constexpr std::int64_t kMostSum = 2147483647;
constexpr int kValueCode = 4095;
constexpr int kWeightCode = 8191;
static_assert(kKeyBlock * kValueCode * kWeightCode <= kMostSum);

/// The largest code of keys and queries.
inline int key_code(std::int64_t head_dim) {
  if (head_dim * kValueCode * kValueCode <= kMostSum) return kValueCode;
  auto code = static_cast<int>(__builtin_sqrt(static_cast<double>(kMostSum) / static_cast<double>(head_dim)));
  while (head_dim * code * code > kMostSum) --code;
  return code;
}
inline std::int64_t key_pairs(std::int64_t head_dim) {
  return (head_dim + 1) / 2;
}

/// One block of 64 positions, as KvHead describes it.
struct IntBlock {
  float* steps;
  std::int16_t* codes;
  IntBlock(std::byte* base, std::int64_t block, std::int64_t codes_per_position) {
    base += block * kKeyBlock * (4 + 2 * codes_per_position);
    steps = reinterpret_cast<float*>(base);
    codes = reinterpret_cast<std::int16_t*>(base + kKeyBlock * 4);
  }
};
inline IntBlock key_block(const KvHead& kv, std::int64_t block, std::int64_t head_dim) {
  return {kv.keys, block, 2 * key_pairs(head_dim)};
}
inline IntBlock value_block(const KvHead& kv, std::int64_t block, std::int64_t head_dim) {
  return {kv.values, block, padded(head_dim)};
}

/// How a row's numbers become codes in [-most, most]. A row with something infinite or NaN has such a step.
struct CodeStep {
  float step = 0.0f, inverse = 0.0f;
  CodeStep(Vec sizes, int most) {
    const float top = largest_size(sizes);
    if (top < 1e-30f) return;
    step = top / static_cast<float>(most);
    inverse = static_cast<float>(most) / top;
  }
  /// As 1.5 * 2^23 + code.
  Vec code(Vec x) const { return fma(x, splat(inverse), splat(kRound)); }
};

/// Codes n numbers times `factor`: place(i, codes) gets those of i to i + 15, zeros from n on. Returns the step.
template <class F>
inline float code_row(const float* x, std::int64_t n, Vec factor, int most, F&& place) {
  const auto each = [&](auto&& f) {
    for (std::int64_t i = 0; i < n; i += kLanes) f(i, load(x + i, n - i < kLanes ? n - i : kLanes) * factor);
  };
  Vec sizes = splat(0.0f);
  each([&](std::int64_t, Vec v) { sizes = larger_size(sizes, v); });
  const CodeStep step(sizes, most);
  each([&](std::int64_t i, Vec v) { place(i, step.code(v)); });
  return step.step;
}

inline void store_ints(const KvHead& kv, const float* key, const float* value, std::int64_t position,
                       std::int64_t head_dim) {
  const std::int64_t at = position % kKeyBlock, pairs = key_pairs(head_dim), stride = padded(head_dim);
  // Neighbours of a pair may be written by another thread: each code by itself.
  const auto spread = [](Vec t, std::int64_t n, auto&& to) {
    alignas(32) std::int16_t codes[kLanes];
    store_code16(codes, t);
    for (std::int64_t j = 0; j < n; ++j) *to(j) = codes[j];
  };
  const IntBlock keys = key_block(kv, position / kKeyBlock, head_dim);
  std::int16_t* key_to = keys.codes + (at / kKeyPanel * pairs * kKeyPanel + at % kKeyPanel) * 2;
  keys.steps[at] = code_row(key, head_dim, splat(1.0f), key_code(head_dim), [&](std::int64_t i, Vec t) {
    const std::int64_t n = 2 * pairs - i < kLanes ? 2 * pairs - i : kLanes;
    spread(t, n, [&](std::int64_t j) { return key_to + (i + j) / 2 * 2 * kKeyPanel + j % 2; });
  });
  const IntBlock values = value_block(kv, position / kKeyBlock, head_dim);
  std::int16_t* value_to = values.codes + at / 2 * 2 * stride + at % 2;
  values.steps[at] = code_row(value, head_dim, splat(1.0f), kValueCode, [&](std::int64_t i, Vec t) {
    spread(t, kLanes, [&](std::int64_t j) { return value_to + (i + j) * 2; });
  });
}

}  // namespace
}  // namespace sparing
