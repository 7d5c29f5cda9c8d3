#pragma once
// ternary_dict times f32 activations, fused with decoding: a word's weights that are not zero add their inputs to the
// row's sum for low or the one for high. One code for every instruction set: a word covers some twenty weights, of
// which two or three add anything.

#include "kernels/kernel_set.h"

namespace sparing::kernels {

/// Panels of 16 rows [begin, end): y = fma(high, H, low * L), L and H the f32 sums of the inputs of either kind, added
/// one by one, ascending. `scratch` holds 4 bytes an input.
void ternary_panels(const TernaryWeight& weight, const float* x, std::int64_t tokens, std::int64_t x_stride,
                    const Output& out, std::int64_t begin, std::int64_t end, std::byte* scratch);

}  // namespace sparing::kernels
