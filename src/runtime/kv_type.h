#pragma once
#include <cstdint>

namespace sparing {

/// How the KV cache keeps its numbers. int16: 13 bits of a position's largest number, of keys and of values, so that
/// attention's products are integers. int8 and int4 (after KIVI, arXiv:2402.02750) code keys by channel over
/// blocks of 64 positions and values by position, each with a scale and a minimum in f16. A query sees the keys of its
/// own block in f16 and those of earlier blocks coded, however the text was cut into passes.
enum class KvType : std::uint8_t { f32, f16, int16, int8, int4 };
inline constexpr KvType kDefaultKv = KvType::int16;

constexpr bool is_coded(KvType type) {
  return type == KvType::int8 || type == KvType::int4;
}

}  // namespace sparing
