#pragma once
// The part of export_gguf that turns weights into ggml blocks.

#include <vector>

#include "formats/export.h"
#include "formats/gguf_writer.h"

namespace sparing {

/// A type for every tensor, in the order of expected_tensors.
Result<std::vector<GgufTensorReport>> choose_gguf_types(const Checkpoint& checkpoint, const GgufExport& options);
/// Writes one tensor as `report` says and completes the report. `interleave`: rows of q and k go into GGUF's order.
Status write_gguf_tensor(const Checkpoint& checkpoint, const TensorShape& shape, bool interleave, GgufWriter& writer,
                         GgufTensorReport& report);

}  // namespace sparing
