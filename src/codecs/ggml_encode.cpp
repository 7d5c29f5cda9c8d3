#include <algorithm>
#include <cmath>
#include <cstring>

#include "codecs/ggml.h"
#include "codecs/planes.h"
#include "tensor/half.h"

namespace sparing {
namespace {

// d = max|x| / 127, codes rounded half away from zero with the f32 inverse of the unrounded d.
void encode_q8_0(const float* x, std::byte* out) {
  float amax = 0;
  for (int i = 0; i < 32; ++i) amax = std::max(amax, std::fabs(x[i]));
  const float d = amax / 127.0f, inverse = d == 0 ? 0.0f : 1.0f / d;
  store_u16(out, f32_to_f16(d));
  for (int i = 0; i < 32; ++i) {
    // The clamp matters only for subnormal d, whose inverse overflows.
    const float q = std::clamp(std::round(x[i] * inverse), -128.0f, 127.0f);
    out[2 + i] = static_cast<std::byte>(static_cast<std::int8_t>(std::isnan(q) ? 0.0f : q));
  }
}

}  // namespace

Status ggml_encode(GgmlType type, const float* values, std::int64_t count, std::byte* out) {
  const GgmlTraits* traits = ggml_traits(static_cast<std::uint32_t>(type));
  if (type != GgmlType::f32 && type != GgmlType::f16 && type != GgmlType::bf16 && type != GgmlType::q8_0)
    return usage_error("[encode] ggml " + ggml_type_name(static_cast<std::uint32_t>(type)) +
                       ": Sparing writes F32, F16, BF16 and Q8_0");
  if (count % traits->block_weights != 0)
    return input_error("[encode] " + std::to_string(count) + " values: " + std::string(traits->name) +
                       " needs a multiple of " + std::to_string(traits->block_weights));
  for (std::int64_t i = 0; i < count; ++i)
    if (!std::isfinite(values[i])) return input_error("[encode] value " + std::to_string(i) + ": is not finite");
  if (type == GgmlType::f32) {
    std::memcpy(out, values, static_cast<std::size_t>(count) * 4);
  } else if (type == GgmlType::q8_0) {
    for (std::int64_t i = 0; i < count / 32; ++i) encode_q8_0(values + 32 * i, out + 34 * i);
  } else {
    for (std::int64_t i = 0; i < count; ++i)
      store_u16(out + 2 * i, type == GgmlType::f16 ? f32_to_f16(values[i]) : f32_to_bf16(values[i]));
  }
  return {};
}

}  // namespace sparing
