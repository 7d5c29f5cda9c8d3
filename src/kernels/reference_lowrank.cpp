// lowrank's two products of q8.h, and sign_lowrank's values, in scalars.

#include <algorithm>
#include <cmath>

#include "codecs/planes.h"
#include "kernels/reference.h"

namespace sparing::kernels::reference {

void factor_inner(const FactorWeight& w, const float* x, std::int64_t tokens, std::int64_t x_stride, float* z,
                  std::int64_t z_stride, std::int64_t begin, std::int64_t end) {
  float values[kFactorLanes];
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t k = begin; k < end; ++k) {
      float lanes[kFactorLanes] = {};
      for (std::int64_t step = 0; step < w.layout.steps; ++step) {
        decode_lanes(w.spec, w.layout, w.rank, w.blob, step, k, values);
        for (int i = 0; i < kFactorLanes; ++i) {
          const std::int64_t c = step * kFactorLanes + i;
          lanes[i] = std::fma(values[i], c < w.n ? x[t * x_stride + c] : 0.0f, lanes[i]);
        }
      }
      for (int width = 8; width > 0; width /= 2)
        for (int i = 0; i < width; ++i) lanes[i] = lanes[i] + lanes[i + width];
      z[t * z_stride + k] = lanes[0];
    }
}

void factor_outer(const FactorWeight& w, const float* z, std::int64_t tokens, std::int64_t z_stride, const Output& out,
                  std::int64_t begin, std::int64_t end) {
  float values[kFactorLanes];
  for (std::int64_t panel = begin; panel < std::min(end, w.layout.steps); ++panel)
    for (std::int64_t t = 0; t < tokens; ++t) {
      float acc[kFactorLanes] = {};
      for (std::int64_t k = 0; k < w.rank; ++k) {
        decode_lanes(w.spec, w.layout, w.rank, w.blob, panel, k, values);
        for (int i = 0; i < kFactorLanes; ++i) acc[i] = std::fma(values[i], z[t * z_stride + k], acc[i]);
      }
      for (int i = 0; i < std::min<std::int64_t>(kFactorLanes, w.n - panel * kFactorLanes); ++i)
        store(out, t, panel * kFactorLanes + i, acc[i]);
    }
}

void sign_panel(const SignWeight& w, std::int64_t panel, float* out, std::byte*) {
  float u[kFactorLanes], v[kFactorLanes];
  for (std::int64_t step = 0; step < w.layout.steps; ++step) {
    float values[kFactorLanes][kFactorLanes] = {};
    for (std::int64_t k = 0; k < w.inner.rank; ++k) {
      decode_lanes(w.outer.spec, w.outer.layout, w.outer.rank, w.outer.blob, panel, k, u);
      decode_lanes(w.inner.spec, w.inner.layout, w.inner.rank, w.inner.blob, step, k, v);
      for (int r = 0; r < kFactorLanes; ++r)
        for (int i = 0; i < kFactorLanes; ++i) values[r][i] = std::fma(u[r], v[i], values[r][i]);
    }
    const std::byte* signs = w.inner.blob + w.layout.signs + (panel * w.layout.steps + step) * 2 * kFactorLanes;
    for (std::int64_t r = 0; r < kFactorLanes && panel * kFactorLanes + r < w.outer.n; ++r)
      for (std::int64_t i = 0; i < kFactorLanes && step * kFactorLanes + i < w.inner.n; ++i) {
        const bool minus = ((load_u16(signs + 2 * r) >> i) & 1) != 0;
        out[r * w.inner.n + step * kFactorLanes + i] = minus ? -values[r][i] : values[r][i];
      }
  }
}

}  // namespace sparing::kernels::reference
