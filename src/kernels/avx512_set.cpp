#include "kernels/avx512.h"
#include "kernels/csr_panels.h"
#include "kernels/reference.h"

namespace sparing::kernels {
namespace avx512 {

void int_panels(const IntWeight& w, const Q8Block* x, std::int64_t tokens, const Output& out, std::int64_t begin,
                std::int64_t end, std::byte* scratch) {
  if (w.segments == SegmentKind::ragged) return reference::int_panels(w, x, tokens, out, begin, end, scratch);
  const bool wide_table = w.table != nullptr && w.spec.bits > 4;
  if (tokens <= kMostTokens && w.segments != SegmentKind::quads && !wide_table)
    return int_gemv(w, x, tokens, out, begin, end, scratch);
  int_gemm(w, x, tokens, out, begin, end, scratch);
}

void csr_panels(const CsrWeight& w, const float* x, std::int64_t tokens, std::int64_t x_stride, const Output& out,
                std::int64_t begin, std::int64_t end) {
  csr_rows(w, x, tokens, x_stride, out, begin, end);
}

}  // namespace avx512

const KernelSet avx512_kernels = {.int_panels = avx512::int_panels,
                                  .dense_panels = avx512::dense_panels,
                                  .csr_panels = avx512::csr_panels,
                                  .quantise = avx512::quantise,
                                  .wide_panels = avx512::wide_panels,
                                  .quantise_wide = avx512::quantise_wide,
                                  .factor_inner = avx512::factor_inner,
                                  .factor_outer = avx512::factor_outer,
                                  .sign_panel = avx512::sign_panel,
                                  .rotate = avx512::rotate};

}  // namespace sparing::kernels
