#pragma once
#include <cstdint>

namespace sparing {

/// How the KV cache keeps its numbers.
enum class KvType : std::uint8_t { f32, f16 };

}  // namespace sparing
