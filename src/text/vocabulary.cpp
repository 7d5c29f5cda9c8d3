#include "text/vocabulary.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace sparing {

std::uint64_t hash_bytes(std::string_view bytes) {
  constexpr std::uint64_t k = 0x9E3779B97F4A7C15ull;
  std::uint64_t h = bytes.size() * k;
  const char* p = bytes.data();
  std::size_t n = bytes.size();
  const auto mix = [&](std::uint64_t x) {
    h = (h ^ x) * k;
    h ^= h >> 29;
  };
  for (; n >= 8; n -= 8, p += 8) {
    std::uint64_t x;
    std::memcpy(&x, p, 8);
    mix(x);
  }
  std::uint64_t tail = 0;
  for (std::size_t i = 0; i < n; ++i) tail |= static_cast<std::uint64_t>(static_cast<unsigned char>(p[i])) << (8 * i);
  mix(tail);
  h *= k;
  return h ^ (h >> 32);
}

PieceIndex::PieceIndex(const TokenizerSpec& spec) {
  const std::size_t n = spec.pieces.size();
  slots_.resize(std::bit_ceil(std::max<std::size_t>(2 * n, 16)));
  mask_ = slots_.size() - 1;
  for (std::size_t id = 0; id < n; ++id) {
    const std::string_view piece = spec.pieces[id];
    if (piece.empty() || !spec.in_model[id] || (spec.byte_level && spec.literal[id])) continue;
    longest_ = std::max(longest_, piece.size());
    const std::uint64_t h = hash_bytes(piece);
    const auto tag = static_cast<std::uint32_t>(h >> 32);
    std::uint64_t i = h & mask_;
    while (slots_[i].id >= 0 &&
           !(slots_[i].tag == tag && spec.pieces[static_cast<std::size_t>(slots_[i].id)] == piece)) {
      i = (i + 1) & mask_;
    }
    slots_[i] = {tag, static_cast<Token>(id)};
  }
}

}  // namespace sparing
