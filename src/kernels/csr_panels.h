#pragma once
// csr rows with the hardware's fma and halves, for files compiled for an instruction set that has both. Internal
// linkage, as in avx512_common.h.

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "kernels/kernel_set.h"

namespace sparing::kernels {
namespace {

inline float float_of_half(std::uint16_t bits) {
#if defined(__x86_64__)
  return _cvtsh_ss(bits);
#else
  __fp16 half;
  __builtin_memcpy(&half, &bits, 2);
  return half;
#endif
}

inline void csr_rows(const CsrWeight& w, const float* x, std::int64_t tokens, std::int64_t x_stride, const Output& out,
                     std::int64_t begin, std::int64_t end) {
  const std::byte *columns = w.blob + w.layout.columns, *values = w.blob + w.layout.values;
  const std::int64_t stop = end * kPanelRows < w.rows ? end * kPanelRows : w.rows;
  for (std::int64_t row = begin * kPanelRows; row < stop; ++row) {
    std::uint32_t range[2];
    __builtin_memcpy(range, w.blob + 4 * row, 8);
    for (std::int64_t t = 0; t < tokens; ++t) {
      const float* xt = x + t * x_stride;
      float acc = 0;
      for (std::uint64_t i = range[0]; i < range[1]; ++i) {
        std::uint32_t column = 0;
        std::uint16_t value;
        __builtin_memcpy(&value, values + 2 * i, 2);
        if (w.spec.wide_index) {
          __builtin_memcpy(&column, columns + 4 * i, 4);
        } else {
          std::uint16_t narrow;
          __builtin_memcpy(&narrow, columns + 2 * i, 2);
          column = narrow;
        }
        acc = __builtin_fmaf(float_of_half(value), xt[column], acc);
      }
      float& y = out.y[t * out.stride + row];
      if (out.add) acc = y + acc;
      y = out.bias != nullptr ? acc + out.bias[row] : acc;
    }
  }
}

}  // namespace
}  // namespace sparing::kernels
