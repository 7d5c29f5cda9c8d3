// Element-wise operations over simd.h; included by one unit per instruction set.
#pragma once
#include "runtime/ops.h"
#include "runtime/simd.h"

namespace sparing {
namespace {

/// f(vector load/store width) over n values in pieces of 16.
template <class F>
inline void pieces(std::int64_t n, F&& f) {
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) f(i, kLanes);
  if (i < n) f(i, n - i);
}
inline Vec load_part(const float* p, std::int64_t n) {
  return n == kLanes ? load(p) : load(p, n);
}
inline void store_part(float* p, Vec a, std::int64_t n) {
  if (n == kLanes) {
    store(p, a);
  } else {
    store(p, a, n);
  }
}

void rms_norm(const float* x, const float* weight, float* out, std::int64_t n, std::int64_t span, float eps) {
  for (std::int64_t begin = 0; begin < n; begin += span) {
    const float* in = x + begin;
    Vec sum[4] = {splat(0), splat(0), splat(0), splat(0)};
    pieces(span, [&](std::int64_t i, std::int64_t m) {
      const Vec a = load_part(in + i, m);
      Vec& s = sum[(i / kLanes) % 4];
      s = fma(a, a, s);
    });
    const float squares = sum_of((sum[0] + sum[1]) + (sum[2] + sum[3]));
    const Vec factor = splat(1.0f / __builtin_sqrtf(squares / static_cast<float>(span) + eps));
    pieces(span, [&](std::int64_t i, std::int64_t m) {
      store_part(out + begin + i, load_part(in + i, m) * factor * load_part(weight + i, m), m);
    });
  }
}

void add(const float* a, const float* b, float* out, std::int64_t n) {
  pieces(n, [&](std::int64_t i, std::int64_t m) { store_part(out + i, load_part(a + i, m) + load_part(b + i, m), m); });
}

void swiglu(const float* gate, const float* up, float* out, std::int64_t n) {
  pieces(n, [&](std::int64_t i, std::int64_t m) {
    const Vec g = load_part(gate + i, m);
    const Vec silu = g / (splat(1.0f) + exp(splat(0.0f) - g));
    store_part(out + i, silu * load_part(up + i, m), m);
  });
}

void rope(const float* x, float* out, std::int64_t heads, std::int64_t head_dim, std::int64_t dimension,
          const float* cosine, const float* sine) {
  const std::int64_t half = dimension / 2;
  for (std::int64_t h = 0; h < heads; ++h) {
    const float* in = x + h * head_dim;
    float* to = out + h * head_dim;
    pieces(half, [&](std::int64_t i, std::int64_t m) {
      const Vec a = load_part(in + i, m), b = load_part(in + half + i, m);
      const Vec c = load_part(cosine + i, m), s = load_part(sine + i, m);
      store_part(to + i, fnma(b, s, a * c), m);
      store_part(to + half + i, fma(a, s, b * c), m);
    });
    if (to != in) {
      for (std::int64_t i = dimension; i < head_dim; ++i) to[i] = in[i];
    }
  }
}

}  // namespace
}  // namespace sparing
