#pragma once
#include "kernels/kernel_set.h"
#include "kernels/linear.h"

namespace sparing::kernels {

const KernelSet& kernels_of(Isa isa);

}  // namespace sparing::kernels
