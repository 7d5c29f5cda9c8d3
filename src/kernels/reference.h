#pragma once
// The scalar truth, and the fallback of the faster sets for what they leave out.

#include "kernels/kernel_set.h"

namespace sparing::kernels::reference {

void quantise(const float* x, std::int64_t tokens, std::int64_t x_stride, std::int64_t cols, std::int64_t tile,
              Q8Block* out);
void int_panels(const IntWeight&, const Q8Block* x, std::int64_t tokens, const Output&, std::int64_t begin,
                std::int64_t end, std::byte* scratch);
void quantise_wide(const float* x, std::int64_t tokens, std::int64_t x_stride, std::int64_t cols, std::int64_t tile,
                   Q16Block* out);
void wide_panels(const IntWeight&, const Q16Block* x, std::int64_t tokens, const Output&, std::int64_t begin,
                 std::int64_t end, std::byte* scratch);
void dense_panels(const DenseWeight&, const float* x, std::int64_t tokens, std::int64_t x_stride, const Output&,
                  std::int64_t begin, std::int64_t end, std::byte* scratch);
void csr_panels(const CsrWeight&, const float* x, std::int64_t tokens, std::int64_t x_stride, const Output&,
                std::int64_t begin, std::int64_t end);
void factor_inner(const FactorWeight&, const float* x, std::int64_t tokens, std::int64_t x_stride, float* z,
                  std::int64_t z_stride, std::int64_t begin, std::int64_t end);
void factor_outer(const FactorWeight&, const float* z, std::int64_t tokens, std::int64_t z_stride, const Output&,
                  std::int64_t begin, std::int64_t end);
void sign_panel(const SignWeight&, std::int64_t panel, float* out, std::byte* scratch);

/// One row's codes, or what they stand for in the table or the books, + 128; padded inputs too: blocks * 32 of them.
void read_row(const IntWeight&, std::int64_t row, std::int16_t* values);

inline void store(const Output& out, std::int64_t token, std::int64_t row, float value) {
  float& y = out.y[token * out.stride + row];
  if (out.add) value = y + value;
  y = out.bias != nullptr ? value + out.bias[row] : value;
}

}  // namespace sparing::kernels::reference
