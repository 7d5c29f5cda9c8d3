#pragma once
#include "kernels/kernel_set.h"
#include "kernels/linear.h"

namespace sparing::kernels {

const KernelSet& kernels_of(Isa isa);
/// Whether the tile unit multiplies bf16 too, where Isa::amx is available.
bool has_bf16_tiles();

}  // namespace sparing::kernels
