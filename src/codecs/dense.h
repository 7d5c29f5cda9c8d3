#pragma once
#include "codecs/coded_weight.h"

namespace sparing {

/// `count` values of f32, f16 or bf16, at any alignment, to f32.
void decode_floats(DType dtype, const std::byte* values, std::int64_t count, float* out);
Status validate_floats(DType dtype, Bytes values);

}  // namespace sparing
