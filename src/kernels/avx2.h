#pragma once
#include "kernels/kernel_set.h"

namespace sparing::kernels::avx2 {

void quantise(const float* x, std::int64_t tokens, std::int64_t x_stride, std::int64_t cols, std::int64_t tile,
              Q8Block* out);
void unpack_panel(const IntWeight&, std::int64_t panel, std::byte* to);
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
void rotate(const std::byte* signs, std::int64_t cols, std::int64_t block, float norm, const float* x, float* out);

}  // namespace sparing::kernels::avx2
