#pragma once
// Everything that can be checked about a model on disk without running it.

#include <cstdint>

#include "formats/checkpoint.h"

namespace sparing {

struct VerifyReport {
  std::uint64_t tensors = 0;  ///< whose shapes, codings and values were checked
  std::uint64_t hashes = 0;   ///< of files and tensors that were compared; 0 where the format has none
  std::uint64_t bytes = 0;    ///< total_bytes
};

/// Reads every tensor: sizes, indices, finite values; for a Sparing directory also every hash in sparing.json. The
/// error names the first tensor or file that is wrong. Lets go of each tensor's pages when done with it.
Result<VerifyReport> verify_checkpoint(const Checkpoint& checkpoint);

}  // namespace sparing
