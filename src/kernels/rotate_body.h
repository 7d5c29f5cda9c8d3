#pragma once
// The Hadamard transform of codecs/transform.h over registers, included by one unit per instruction set. Butterflies in
// the same order, each sum rounded once: the same bits. V has kLanes, Register, load(x, signs, at) with the signs of
// inputs [at, at + kLanes) put on, within() for the butterflies of a register's own lanes, and plain arithmetic.

#include <cstddef>
#include <cstdint>

#include "kernels/unroll.h"

namespace sparing::kernels {
namespace {

/// Butterflies at distances of H registers and more.
template <int H, int R, class Register>
inline void cross(Register (&v)[R]) {
  if constexpr (H < R) {
    SPARING_UNROLL
    for (int i = 0; i < R; ++i) {
      if ((i & H) != 0) continue;
      const Register a = v[i], b = v[i + H];
      v[i] = a + b;
      v[i + H] = a - b;
    }
    cross<2 * H>(v);
  }
}

/// R registers of inputs from `at` on, which stay in registers meanwhile.
template <class V, int R>
inline void rotate_part(const std::byte* signs, std::int64_t at, float by, const float* x, float* out) {
  typename V::Register v[R];
  SPARING_UNROLL
  for (int i = 0; i < R; ++i) v[i] = V::within(V::load(x + at + i * V::kLanes, signs, at + i * V::kLanes));
  cross<1>(v);
  SPARING_UNROLL
  for (int i = 0; i < R; ++i) V::store(out + at + i * V::kLanes, v[i] * V::splat(by));
}

/// Blocks of a power of two, at least a register's lanes; `norm` comes last.
template <class V, int MOST>
inline void rotate_row(const std::byte* signs, std::int64_t cols, std::int64_t block, float norm, const float* x,
                       float* out) {
  const std::int64_t most = MOST * V::kLanes, part = block < most ? block : most;
  const float by = part == block ? norm : 1.0f;
  for (std::int64_t at = 0; at < cols; at += part) {
    switch (part / V::kLanes) {
      case 1:
        rotate_part<V, 1>(signs, at, by, x, out);
        break;
      case 2:
        rotate_part<V, 2>(signs, at, by, x, out);
        break;
      case 4:
        rotate_part<V, 4>(signs, at, by, x, out);
        break;
      case 8:
        rotate_part<V, 8>(signs, at, by, x, out);
        break;
      default:
        rotate_part<V, MOST>(signs, at, by, x, out);
    }
  }
  for (std::int64_t h = part; h < block; h *= 2) {
    const auto last = V::splat(2 * h == block ? norm : 1.0f);
    for (std::int64_t i = 0; i < cols; i += 2 * h)
      for (std::int64_t j = i; j < i + h; j += V::kLanes) {
        const auto a = V::plain(out + j), b = V::plain(out + j + h);
        V::store(out + j, (a + b) * last);
        V::store(out + j + h, (a - b) * last);
      }
  }
}

}  // namespace
}  // namespace sparing::kernels
