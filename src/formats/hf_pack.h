#pragma once
// A model's linear weights packed for other tools, code by code: GPTQ's first format and compressed-tensors'
// "pack-quantized". The other way round: hf_packed.h.

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "formats/checkpoint.h"
#include "formats/hf_quantization.h"
#include "formats/safetensors.h"

namespace sparing {

/// What all packed weights of a directory share.
struct PackScheme {
  HfQuantization quantization;
  bool ordered = false;  ///< some weight's groups are not in the order of the inputs
};

/// Whether the tensor is a weight that these formats pack: a linear of a block. Embedding and head stay floats.
bool is_packed_tensor(const TensorShape& shape);

/// The one scheme that holds the codes of every linear of the model exactly. Errors name the tensor and what stands in
/// the way: several terms, other bits or groups than its neighbours', scales that f16 does not hold, minima, groups
/// that do not divide the inputs, a zero that GPTQ's first format cannot store.
Result<PackScheme> pack_scheme(const Checkpoint& checkpoint, HfPacking packing);

/// quantization_config of config.json.
nlohmann::json pack_config(const PackScheme& scheme);

/// The tensors of one weight, in the order in which packed_bytes() gives their contents. `module`: its name without
/// ".weight".
std::vector<SafeTensorPlan> packed_tensors(const PackScheme& scheme, const std::string& module,
                                           const TensorShape& shape);
Result<std::vector<std::vector<std::byte>>> packed_bytes(const PackScheme& scheme, const Checkpoint& checkpoint,
                                                         const TensorShape& shape);

}  // namespace sparing
