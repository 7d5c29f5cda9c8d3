#include "codecs/dense.h"
#include "codecs/ggml.h"
#include "codecs/ggml_blocks.h"
#include "tensor/half.h"

namespace sparing {
namespace {

/// One block by its coding's formula, each operation rounded on its own as numpy does.
void decode_block(const CodecSpec& codec, const GgmlBlock& b, int weights, float* out) {
  const auto* lut = std::get_if<LutGroupSpec>(&codec);
  const IntGroupSpec spec = lut != nullptr ? as_int_group(*lut) : std::get<IntGroupSpec>(codec);
  const float d = f16_to_f32(b.d), min = f16_to_f32(b.min);
  for (int g = 0; g * spec.groups.group < weights; ++g) {
    float scale = d, minimum = min;
    if (spec.groups.scale == ScaleKind::coded)
      scale = d * static_cast<float>(b.scale_codes[g] - spec.groups.scale_offset);
    if (spec.zero == ZeroKind::coded_min) minimum = -(min * static_cast<float>(b.min_codes[g]));
    const std::uint8_t* codes = b.codes + g * spec.groups.group;
    float* to = out + g * spec.groups.group;
    for (int i = 0; i < spec.groups.group; ++i) {
      if (lut != nullptr) {
        to[i] = scale * lut->table[codes[i]];
      } else if (spec.zero == ZeroKind::constant) {
        to[i] = scale * static_cast<float>(codes[i] - spec.zero_offset);
      } else {
        to[i] = scale * static_cast<float>(codes[i]) + minimum;
      }
    }
  }
}

}  // namespace

void ggml_decode(GgmlType type, Bytes blocks, std::int64_t count, float* out) {
  const GgmlTraits& traits = *ggml_traits(static_cast<std::uint32_t>(type));
  const CodecSpec codec = ggml_codec(type);
  if (const auto* dense = std::get_if<DenseSpec>(&codec)) return decode_floats(dense->dtype, blocks.data(), count, out);
  GgmlBlock block;
  for (std::int64_t i = 0; i < count / traits.block_weights; ++i) {
    read_ggml_block(type, blocks.data() + i * traits.block_bytes, block);
    decode_block(codec, block, traits.block_weights, out + i * traits.block_weights);
  }
}

}  // namespace sparing
