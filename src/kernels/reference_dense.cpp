#include <algorithm>
#include <cmath>

#include "codecs/dense.h"
#include "codecs/planes.h"
#include "kernels/reference.h"
#include "tensor/half.h"

namespace sparing::kernels {
namespace reference {

void dense_panels(const DenseWeight& w, const float* x, std::int64_t tokens, std::int64_t x_stride, const Output& out,
                  std::int64_t begin, std::int64_t end, std::byte* scratch) {
  auto* row_values = reinterpret_cast<float*>(scratch);
  for (std::int64_t row = begin * kPanelRows; row < std::min(w.rows, end * kPanelRows); ++row) {
    decode_floats(w.dtype, w.data + static_cast<std::size_t>(row * w.cols) * size_of(w.dtype), w.cols, row_values);
    for (std::int64_t t = 0; t < tokens; ++t) {
      float lanes[16] = {};
      const std::int64_t padded = (w.cols + 15) / 16 * 16;
      for (std::int64_t c = 0; c < padded; ++c)
        lanes[c % 16] = c < w.cols ? std::fma(row_values[c], x[t * x_stride + c], lanes[c % 16])
                                   : std::fma(0.0f, 0.0f, lanes[c % 16]);
      for (int width = 8; width > 0; width /= 2)
        for (int i = 0; i < width; ++i) lanes[i] = lanes[i] + lanes[i + width];
      store(out, t, row, lanes[0]);
    }
  }
}

void csr_panels(const CsrWeight& w, const float* x, std::int64_t tokens, std::int64_t x_stride, const Output& out,
                std::int64_t begin, std::int64_t end) {
  for (std::int64_t row = begin * kPanelRows; row < std::min(w.rows, end * kPanelRows); ++row) {
    const std::uint64_t first = load_u32(w.blob + 4 * row), last = load_u32(w.blob + 4 * (row + 1));
    for (std::int64_t t = 0; t < tokens; ++t) {
      float acc = 0;
      for (std::uint64_t i = first; i < last; ++i) {
        const std::byte* columns = w.blob + w.layout.columns;
        const std::uint32_t c = w.spec.wide_index ? load_u32(columns + 4 * i) : load_u16(columns + 2 * i);
        acc = std::fma(f16_to_f32(load_u16(w.blob + w.layout.values + 2 * i)), x[t * x_stride + c], acc);
      }
      store(out, t, row, acc);
    }
  }
}

}  // namespace reference

const KernelSet reference_kernels = {.int_panels = reference::int_panels,
                                     .dense_panels = reference::dense_panels,
                                     .csr_panels = reference::csr_panels,
                                     .quantise = reference::quantise,
                                     .wide_panels = reference::wide_panels,
                                     .quantise_wide = reference::quantise_wide,
                                     .factor_inner = reference::factor_inner,
                                     .factor_outer = reference::factor_outer,
                                     .sign_panel = reference::sign_panel};

}  // namespace sparing::kernels
