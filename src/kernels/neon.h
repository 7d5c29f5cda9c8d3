#pragma once
#include "kernels/kernel_set.h"

namespace sparing::kernels {
namespace neon {

void quantise(const float* x, std::int64_t tokens, std::int64_t x_stride, std::int64_t cols, std::int64_t tile,
              Q8Block* out);
/// Codes of a panel as signed bytes, [quad][16 rows][4]: those of 8 bits and table values less 128 (see code_bias).
void unpack_panel(const IntWeight&, std::int64_t panel, std::byte* to);
void int_panels(const IntWeight&, const Q8Block* x, std::int64_t tokens, const Output&, std::int64_t begin,
                std::int64_t end, std::byte* scratch);
void dense_panels(const DenseWeight&, const float* x, std::int64_t tokens, std::int64_t x_stride, const Output&,
                  std::int64_t begin, std::int64_t end, std::byte* scratch);
void csr_panels(const CsrWeight&, const float* x, std::int64_t tokens, std::int64_t x_stride, const Output&,
                std::int64_t begin, std::int64_t end);
void wide_panels(const IntWeight&, const Q16Block* x, std::int64_t tokens, const Output&, std::int64_t begin,
                 std::int64_t end, std::byte* scratch);
void quantise_wide(const float* x, std::int64_t tokens, std::int64_t x_stride, std::int64_t cols, std::int64_t tile,
                   Q16Block* out);
void factor_inner(const FactorWeight&, const float* x, std::int64_t tokens, std::int64_t x_stride, float* z,
                  std::int64_t z_stride, std::int64_t begin, std::int64_t end);
void factor_outer(const FactorWeight&, const float* z, std::int64_t tokens, std::int64_t z_stride, const Output&,
                  std::int64_t begin, std::int64_t end);
void sign_panel(const SignWeight&, std::int64_t panel, float* out, std::byte* scratch);

}  // namespace neon
namespace neon_dotprod {

void int_panels(const IntWeight&, const Q8Block* x, std::int64_t tokens, const Output&, std::int64_t begin,
                std::int64_t end, std::byte* scratch);
void wide_panels(const IntWeight&, const Q16Block* x, std::int64_t tokens, const Output&, std::int64_t begin,
                 std::int64_t end, std::byte* scratch);

}  // namespace neon_dotprod
}  // namespace sparing::kernels
