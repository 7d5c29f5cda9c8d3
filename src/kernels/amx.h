#pragma once
#include "kernels/kernel_set.h"

namespace sparing::kernels::amx {

/// Fewer tokens fill too little of a tile: the vector kernels take them.
inline constexpr std::int64_t kFewestTokens = 9;

void int_panels(const IntWeight&, const Q8Block* x, std::int64_t tokens, const Output&, std::int64_t begin,
                std::int64_t end, std::byte* scratch);
void wide_panels(const IntWeight&, const Q16Block* x, std::int64_t tokens, const Output&, std::int64_t begin,
                 std::int64_t end, std::byte* scratch);

}  // namespace sparing::kernels::amx
