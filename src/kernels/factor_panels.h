#pragma once
// lowrank's two products of q8.h for an instruction set that is given as a class of 16 lanes:
//   Lanes            16 floats
//   kComponents, kTokens, kOuterTokens: register tiles
//   zero(), all(float), load(const float*), load_some(const float*, count), store(float*, Lanes), store_some
//   fma(a, b, c), add(a, b), mul(a, b), total(Lanes): the tree over the lanes
//   halves(p), bytes(p), nibbles(p): stored lanes as floats, codes less 2^(bits - 1)
//   half(p): one f16
//   negate(v, p): minus where a bit of the u16 at p is set
// Everything has internal linkage, as in avx512_common.h.

#include "kernels/kernel_set.h"

namespace sparing::kernels {
namespace {

template <class V, int BITS>
struct FactorKernels {
  using Lanes = typename V::Lanes;

  static Lanes codes(const std::byte* p) {
    if constexpr (BITS == 16) return V::halves(p);
    if constexpr (BITS == 8) return V::bytes(p);
    return V::nibbles(p);
  }
  static const std::byte* lanes_at(const FactorWeight& w, std::int64_t step, std::int64_t k) {
    return w.blob + w.layout.codes + (step * w.rank + k) * (2 * BITS);
  }
  static const std::byte* scale_at(const FactorWeight& w, std::int64_t step, std::int64_t k) {
    return w.blob + w.layout.scales + 2 * (step * 16 / w.spec.group * w.rank + k);
  }

  /// COMPONENTS x TOKENS sums over all inputs.
  template <int COMPONENTS, int TOKENS>
  static void inner_tile(const FactorWeight& w, const float* x, std::int64_t x_stride, float* z, std::int64_t z_stride,
                         std::int64_t k) {
    Lanes acc[COMPONENTS][TOKENS], scale[COMPONENTS];
    for (int i = 0; i < COMPONENTS; ++i)
      for (int t = 0; t < TOKENS; ++t) acc[i][t] = V::zero();
    const std::int64_t steps_per_group = BITS == 16 ? w.layout.steps : w.spec.group / 16;
    for (std::int64_t step = 0; step < w.layout.steps;) {
      if constexpr (BITS != 16)
        for (int i = 0; i < COMPONENTS; ++i) scale[i] = V::all(V::half(scale_at(w, step, k + i)));
      const std::int64_t stop = w.layout.steps - step < steps_per_group ? w.layout.steps : step + steps_per_group;
      for (; step < stop; ++step) {
        const std::int64_t left = w.n - step * 16;
        Lanes xs[TOKENS];
        for (int t = 0; t < TOKENS; ++t) {
          const float* from = x + t * x_stride + step * 16;
          xs[t] = left >= 16 ? V::load(from) : V::load_some(from, static_cast<int>(left));
        }
        const std::byte* at = lanes_at(w, step, k);
        for (int i = 0; i < COMPONENTS; ++i) {
          Lanes v = codes(at + i * 2 * BITS);
          if constexpr (BITS != 16) v = V::mul(scale[i], v);
          for (int t = 0; t < TOKENS; ++t) acc[i][t] = V::fma(v, xs[t], acc[i][t]);
        }
      }
    }
    for (int i = 0; i < COMPONENTS; ++i)
      for (int t = 0; t < TOKENS; ++t) z[t * z_stride + k + i] = V::total(acc[i][t]);
  }

  template <int TOKENS>
  static void inner_tokens(const FactorWeight& w, const float* x, std::int64_t x_stride, float* z,
                           std::int64_t z_stride, std::int64_t begin, std::int64_t end) {
    std::int64_t k = begin;
    for (; k + V::kComponents <= end; k += V::kComponents)
      inner_tile<V::kComponents, TOKENS>(w, x, x_stride, z, z_stride, k);
    for (; k < end; ++k) inner_tile<1, TOKENS>(w, x, x_stride, z, z_stride, k);
  }

  static void inner(const FactorWeight& w, const float* x, std::int64_t tokens, std::int64_t x_stride, float* z,
                    std::int64_t z_stride, std::int64_t begin, std::int64_t end) {
    std::int64_t t = 0;
    for (; t + V::kTokens <= tokens; t += V::kTokens)
      inner_tokens<V::kTokens>(w, x + t * x_stride, x_stride, z + t * z_stride, z_stride, begin, end);
    for (; t < tokens; ++t) inner_tokens<1>(w, x + t * x_stride, x_stride, z + t * z_stride, z_stride, begin, end);
  }

  /// 16 rows of TOKENS tokens.
  template <int TOKENS>
  static void outer_tile(const FactorWeight& w, const float* z, std::int64_t z_stride, const Output& out,
                         std::int64_t token, std::int64_t panel) {
    Lanes acc[TOKENS];
    for (int t = 0; t < TOKENS; ++t) acc[t] = V::zero();
    const std::byte* at = lanes_at(w, panel, 0);
    const std::byte* scales = BITS == 16 ? nullptr : scale_at(w, panel, 0);
    for (std::int64_t k = 0; k < w.rank; ++k) {
      Lanes u = codes(at + k * 2 * BITS);
      if constexpr (BITS != 16) u = V::mul(V::all(V::half(scales + 2 * k)), u);
      for (int t = 0; t < TOKENS; ++t) acc[t] = V::fma(u, V::all(z[t * z_stride + k]), acc[t]);
    }
    const std::int64_t row = panel * 16, left = w.n - row;
    for (int t = 0; t < TOKENS; ++t) {
      float* y = out.y + (token + t) * out.stride + row;
      Lanes v = acc[t];
      if (left >= 16) {
        if (out.add) v = V::add(V::load(y), v);
        if (out.bias != nullptr) v = V::add(v, V::load(out.bias + row));
        V::store(y, v);
      } else {
        const int some = static_cast<int>(left);
        if (out.add) v = V::add(V::load_some(y, some), v);
        if (out.bias != nullptr) v = V::add(v, V::load_some(out.bias + row, some));
        V::store_some(y, some, v);
      }
    }
  }

  static void outer(const FactorWeight& w, const float* z, std::int64_t tokens, std::int64_t z_stride,
                    const Output& out, std::int64_t begin, std::int64_t end) {
    const std::int64_t stop = end < w.layout.steps ? end : w.layout.steps;
    for (std::int64_t panel = begin; panel < stop; ++panel) {
      std::int64_t t = 0;
      for (; t + V::kOuterTokens <= tokens; t += V::kOuterTokens)
        outer_tile<V::kOuterTokens>(w, z + t * z_stride, z_stride, out, t, panel);
      for (; t < tokens; ++t) outer_tile<1>(w, z + t * z_stride, z_stride, out, t, panel);
    }
  }

  /// One component's 16 values, scale and all.
  static Lanes values(const FactorWeight& w, std::int64_t step, std::int64_t k) {
    const Lanes v = codes(lanes_at(w, step, k));
    if constexpr (BITS == 16) return v;
    return V::mul(V::all(V::half(scale_at(w, step, k))), v);
  }
  /// All components of a step, [rank][16].
  static void values(const FactorWeight& w, std::int64_t step, float* to) {
    for (std::int64_t k = 0; k < w.rank; ++k) V::store(to + 16 * k, values(w, step, k));
  }
};

template <class V>
void factor_values(const FactorWeight& w, std::int64_t step, float* to) {
  if (w.spec.bits == 16) return FactorKernels<V, 16>::values(w, step, to);
  if (w.spec.bits == 8) return FactorKernels<V, 8>::values(w, step, to);
  FactorKernels<V, 4>::values(w, step, to);
}

/// ROWS rows of a step's magnitudes, from row `row` of the panel, with their signs.
template <class V, int ROWS>
inline void sign_rows(const float* u, const float* v, std::int64_t rank, const std::byte* signs, std::int64_t row,
                      float* out, std::int64_t stride, int some) {
  typename V::Lanes m[ROWS];
  for (int r = 0; r < ROWS; ++r) m[r] = V::zero();
  for (std::int64_t k = 0; k < rank; ++k) {
    const typename V::Lanes inner = V::load(v + 16 * k);
    for (int r = 0; r < ROWS; ++r) m[r] = V::fma(V::all(u[16 * k + row + r]), inner, m[r]);
  }
  for (int r = 0; r < ROWS; ++r) {
    m[r] = V::negate(m[r], signs + 2 * (row + r));
    float* to = out + (row + r) * stride;
    if (some == 16) {
      V::store(to, m[r]);
    } else {
      V::store_some(to, some, m[r]);
    }
  }
}

template <class V>
void sign_panel_with(const SignWeight& w, std::int64_t panel, float* out, std::byte* scratch) {
  auto* u = reinterpret_cast<float*>(scratch);
  float* v = u + 16 * w.outer.rank;
  factor_values<V>(w.outer, panel, u);
  const std::int64_t left = w.outer.n - panel * 16, rows = left < 16 ? left : 16, cols = w.inner.n;
  for (std::int64_t step = 0; step < w.layout.steps; ++step) {
    factor_values<V>(w.inner, step, v);
    const std::byte* signs = w.inner.blob + w.layout.signs + (panel * w.layout.steps + step) * 32;
    const std::int64_t inputs = cols - step * 16;
    const int some = inputs < 16 ? static_cast<int>(inputs) : 16;
    std::int64_t r = 0;
    for (; r + 4 <= rows; r += 4) sign_rows<V, 4>(u, v, w.inner.rank, signs, r, out + step * 16, cols, some);
    for (; r < rows; ++r) sign_rows<V, 1>(u, v, w.inner.rank, signs, r, out + step * 16, cols, some);
  }
}

template <class V>
void factor_inner_with(const FactorWeight& w, const float* x, std::int64_t tokens, std::int64_t x_stride, float* z,
                       std::int64_t z_stride, std::int64_t begin, std::int64_t end) {
  if (w.spec.bits == 16) return FactorKernels<V, 16>::inner(w, x, tokens, x_stride, z, z_stride, begin, end);
  if (w.spec.bits == 8) return FactorKernels<V, 8>::inner(w, x, tokens, x_stride, z, z_stride, begin, end);
  FactorKernels<V, 4>::inner(w, x, tokens, x_stride, z, z_stride, begin, end);
}

template <class V>
void factor_outer_with(const FactorWeight& w, const float* z, std::int64_t tokens, std::int64_t z_stride,
                       const Output& out, std::int64_t begin, std::int64_t end) {
  if (w.spec.bits == 16) return FactorKernels<V, 16>::outer(w, z, tokens, z_stride, out, begin, end);
  if (w.spec.bits == 8) return FactorKernels<V, 8>::outer(w, z, tokens, z_stride, out, begin, end);
  FactorKernels<V, 4>::outer(w, z, tokens, z_stride, out, begin, end);
}

}  // namespace
}  // namespace sparing::kernels
