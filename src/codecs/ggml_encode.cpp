#include <algorithm>
#include <cmath>
#include <cstring>

#include "codecs/ggml.h"
#include "codecs/ggml_blocks.h"
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

/// Q4_0 and Q5_0: the extreme of largest magnitude takes the lowest code, so d = extreme / -middle.
void encode_symmetric(GgmlType type, const float* x, std::byte* out) {
  const int middle = type == GgmlType::q4_0 ? 8 : 16;
  float extreme = 0;
  for (int i = 0; i < 32; ++i) {
    if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
  }
  const float d = extreme / static_cast<float>(-middle), inverse = d == 0 ? 0.0f : 1.0f / d;
  GgmlBlock block;
  block.d = f32_to_f16(d);
  for (int i = 0; i < 32; ++i) {
    const float q = std::trunc(x[i] * inverse + (static_cast<float>(middle) + 0.5f));
    block.codes[i] = static_cast<std::uint8_t>(std::isnan(q) ? 0.0f : std::clamp(q, 0.0f, 2.0f * middle - 1));
  }
  write_ggml_block(type, block, out);
}

/// Q4_1 and Q5_1: least to largest over all codes.
void encode_with_minimum(GgmlType type, const float* x, std::byte* out) {
  const float most = type == GgmlType::q4_1 ? 15.0f : 31.0f;
  const auto [low, high] = std::minmax_element(x, x + 32);
  const float d = (*high - *low) / most, inverse = d == 0 ? 0.0f : 1.0f / d;
  GgmlBlock block;
  block.d = f32_to_f16(d);
  block.min = f32_to_f16(*low);
  for (int i = 0; i < 32; ++i) {
    const float q = std::trunc((x[i] - *low) * inverse + 0.5f);
    block.codes[i] = static_cast<std::uint8_t>(std::isnan(q) ? 0.0f : std::clamp(q, 0.0f, most));
  }
  write_ggml_block(type, block, out);
}

void encode_block(GgmlType type, const float* x, std::byte* out) {
  if (type == GgmlType::q8_0) return encode_q8_0(x, out);
  if (type == GgmlType::q4_0 || type == GgmlType::q5_0) return encode_symmetric(type, x, out);
  encode_with_minimum(type, x, out);
}

}  // namespace

bool ggml_can_encode(GgmlType type) {
  switch (type) {
    case GgmlType::f32:
    case GgmlType::f16:
    case GgmlType::bf16:
    case GgmlType::q4_0:
    case GgmlType::q4_1:
    case GgmlType::q5_0:
    case GgmlType::q5_1:
    case GgmlType::q8_0:
      return true;
    default:
      return false;
  }
}

Status ggml_encode(GgmlType type, const float* values, std::int64_t count, std::byte* out) {
  const GgmlTraits* traits = ggml_traits(static_cast<std::uint32_t>(type));
  if (!ggml_can_encode(type))
    return usage_error("[encode] ggml " + ggml_type_name(static_cast<std::uint32_t>(type)) +
                       ": values are rounded to F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0");
  if (count % traits->block_weights != 0)
    return input_error("[encode] " + std::to_string(count) + " values: " + std::string(traits->name) +
                       " needs a multiple of " + std::to_string(traits->block_weights));
  for (std::int64_t i = 0; i < count; ++i)
    if (!std::isfinite(values[i])) return input_error("[encode] value " + std::to_string(i) + ": is not finite");
  if (type == GgmlType::f32) {
    std::memcpy(out, values, static_cast<std::size_t>(count) * 4);
  } else if (traits->block_weights > 1) {
    for (std::int64_t i = 0; i < count / traits->block_weights; ++i)
      encode_block(type, values + traits->block_weights * i, out + traits->block_bytes * i);
  } else {
    for (std::int64_t i = 0; i < count; ++i)
      store_u16(out + 2 * i, type == GgmlType::f16 ? f32_to_f16(values[i]) : f32_to_bf16(values[i]));
  }
  return {};
}

}  // namespace sparing
