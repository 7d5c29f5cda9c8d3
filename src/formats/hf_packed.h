#pragma once
// One weight of a GPTQ, AWQ or compressed-tensors directory, moved into int_group code by code.

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "codecs/coded_weight.h"
#include "formats/hf_quantization.h"
#include "formats/safetensors.h"

namespace sparing {

struct PackedPart {
  SafeTensor tensor;
  Bytes bytes;
  std::shared_ptr<const MappedFile> file;  ///< what the bytes lie in
};

struct PackedLinear {
  HfQuantization scheme;
  std::int64_t rows = 0, cols = 0;  ///< outputs, inputs
  std::int64_t groups = 0;
  PackedPart codes, scales;
  std::optional<PackedPart> zeros, order;  ///< order: each input's group (activation order)
};

/// Takes the tensors of the module (its name without ".weight") out of `set`; nothing if it is not packed. Dtypes and
/// shapes are checked against the scheme.
Result<std::optional<PackedLinear>> take_packed(SafetensorsSet& set, const std::string& module,
                                                const HfQuantization& scheme, std::int64_t rows, std::int64_t cols,
                                                const std::string& where);

/// The same numbers as int_group, behind a permutation where the inputs' groups are not in order; zeros that are all
/// alike become a constant. Scales that f16 does not hold exactly make it a dense f32 weight. Errors: an order that
/// names no group, or fills one with too many inputs.
Result<CodedWeight> transcode_packed(const PackedLinear& packed);

}  // namespace sparing
