#include "codecs/dense.h"

#include <cstring>

#include "codecs/planes.h"
#include "tensor/half.h"

namespace sparing {

void decode_floats(DType dtype, const std::byte* values, std::int64_t count, float* out) {
  if (dtype == DType::f32) {
    std::memcpy(out, values, static_cast<std::size_t>(count) * 4);
  } else if (dtype == DType::f16) {
    for (std::int64_t i = 0; i < count; ++i) out[i] = f16_to_f32(load_u16(values + 2 * i));
  } else {
    for (std::int64_t i = 0; i < count; ++i) out[i] = bf16_to_f32(load_u16(values + 2 * i));
  }
}

Status validate_floats(DType dtype, Bytes values) {
  const std::size_t size = size_of(dtype), count = values.size() / size;
  for (std::size_t i = 0; i < count; ++i) {
    bool finite;
    if (dtype == DType::f32) {
      finite = (load_u32(values.data() + 4 * i) & 0x7F800000u) != 0x7F800000u;
    } else {
      const std::uint16_t exponent = dtype == DType::f16 ? 0x7C00u : 0x7F80u;
      finite = (load_u16(values.data() + 2 * i) & exponent) != exponent;
    }
    if (!finite) return input_error("[dense] value " + std::to_string(i) + " is not finite: the file is damaged");
  }
  return {};
}

CodedWeight dense_weight(std::int64_t rows, std::int64_t cols, DType dtype, Blob blob) {
  CodedWeight w;
  w.rows = rows;
  w.cols = cols;
  w.terms.push_back({DenseSpec{dtype}, std::move(blob)});
  return w;
}

}  // namespace sparing
