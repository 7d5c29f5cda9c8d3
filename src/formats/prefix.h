#pragma once
// A model whose weights are stacks of blocks (sign_lowrank terms, as bitstack makes them), cut to what fits.

#include <memory>

#include "formats/checkpoint.h"

namespace sparing {

/// The same model with as many blocks as `bytes` hold, everything else counted: the first of every matrix, which must
/// stay, then the second of all, and so on; within a level those that hold most of their matrix's squares come first.
/// What more bytes load begins with what fewer do. Errors: no stacks in it, fewer bytes than it takes without them, a
/// damaged matrix.
Result<std::shared_ptr<const Checkpoint>> prefix_of(std::shared_ptr<const Checkpoint> whole, std::uint64_t bytes);

}  // namespace sparing
