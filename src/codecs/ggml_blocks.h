#pragma once
// One ggml block taken apart into codes, scales and minima: what decoding and transcoding share. Layouts: ggml's
// specification of its block types, as the gguf package reads them.

#include <cstdint>

#include "codecs/ggml.h"
#include "codecs/int_group.h"

namespace sparing {

struct GgmlBlock {
  std::uint8_t codes[256];
  std::uint16_t d = 0;    ///< f16: the scale, or the super-scale
  std::uint16_t min = 0;  ///< f16: the minimum, or the super-minimum
  std::uint8_t scale_codes[16], min_codes[16];
};

void read_ggml_block(GgmlType type, const std::byte* from, GgmlBlock& block);
/// The inverse, for quantised types.
void write_ggml_block(GgmlType type, const GgmlBlock& block, std::byte* to);
/// The coding that holds a quantised type exactly; monostate-free: DenseSpec for F32, F16 and BF16.
CodecSpec ggml_codec(GgmlType type);

}  // namespace sparing
