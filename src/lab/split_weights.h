#pragma once
// The matrices of a stage in halves, for forward passes on a processor that multiplies those faster than f32.

#include "base/thread_pool.h"
#include "lab/interpreter.h"

namespace sparing::lab {

/// Those of the linear ops [first, last) of `graph`. Empty where the machine has no such products or the weights are
/// not in f32 on the CPU.
SplitWeights split(const Graph& graph, std::size_t first, std::size_t last, const Weights& weights, ThreadPool& pool);

}  // namespace sparing::lab
