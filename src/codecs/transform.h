#pragma once
// Input transforms: packing them, applying them to activations, folding them into a decoded row.

#include <cstdint>
#include <vector>

#include "codecs/coded_weight.h"

namespace sparing {

/// `index` is a permutation of [0, cols). Activation order (GPTQ's desc_act): arXiv:2210.17323.
Result<Transform> permutation_transform(const std::vector<std::uint32_t>& index);
/// f16 bits, one an input. AWQ's scales: arXiv:2306.00978.
Result<Transform> diagonal_transform(const std::vector<std::uint16_t>& d);
/// The largest block that hadamard_transform takes for so many inputs, 512 at most.
std::int32_t hadamard_block(std::int64_t cols);
/// negative[i]: input i changes sign first. QuaRot: arXiv:2404.00456. `block` is a power of two that divides the width.
Result<Transform> hadamard_transform(std::int32_t block, const std::vector<bool>& negative);

/// Kind, sizes and, for permutations, that each input is named once.
Status validate(const Transform& transform, std::int64_t cols, bool deep);
/// out = T(x), `cols` each, not overlapping.
void apply_transform(const Transform& transform, std::int64_t cols, const float* x, float* out);
/// row holds w in transformed coordinates; afterwards the row that acts on x: w T. `scratch` has cols floats.
void fold_transform(const Transform& transform, std::int64_t cols, float* row, float* scratch);

}  // namespace sparing
