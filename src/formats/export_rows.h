#pragma once
// A tensor's rows as floats, a few at a time.

#include <functional>
#include <span>

#include "formats/checkpoint.h"

namespace sparing {

/// Calls `sink` with consecutive runs of whole rows, [n, cols] (a vector: one row), in the order that `order` names, or
/// as they are. Lets go of the tensor's pages at the end.
Status for_each_rows(const Checkpoint& checkpoint, const TensorShape& shape, const std::vector<std::int32_t>* order,
                     const std::function<Status(std::span<const float>)>& sink);

}  // namespace sparing
