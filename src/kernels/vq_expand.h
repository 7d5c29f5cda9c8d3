#pragma once
// For the files of one instruction set: the codes of a vq_additive panel as bytes of the panels that products run over.
// Everything here has internal linkage.

#include "kernels/kernel_set.h"

namespace sparing::kernels {
namespace {

/// A quad's 64 codes, one a byte: in place, or gathered from their bit planes into `held`.
inline const std::uint8_t* quad_codes(const VqCodes& v, const std::byte* panel, std::int64_t quad, std::uint8_t* held) {
  const auto* in_place = reinterpret_cast<const std::uint8_t*>(panel + 64 * quad);
  if (v.bits == 8) return in_place;
  const std::int64_t unit = quad / 8, inside = quad % 8, in_unit = v.quads - 8 * unit < 8 ? v.quads - 8 * unit : 8;
  const auto* at = reinterpret_cast<const std::uint8_t*>(panel + 64 * unit * v.bits);
  for (int i = 0; i < 64; ++i) held[i] = 0;
  for (int p = 0; p < v.planes; ++p) {
    const std::int64_t per_chunk = 8 / v.width[p];
    const std::uint8_t* chunk = at + 64 * (inside / per_chunk);
    const int shift = static_cast<int>(inside % per_chunk) * v.width[p], mask = (1 << v.width[p]) - 1;
    for (int i = 0; i < 64; ++i)
      held[i] = static_cast<std::uint8_t>(held[i] | (((chunk[i] >> shift) & mask) << v.low[p]));
    at += 64 * ((in_unit * v.width[p] + 7) / 8);
  }
  return held;
}

/// Bytes added one by one, modulo 256.
template <class Word>
inline Word add_bytes(Word a, Word b) {
  constexpr Word kLow = static_cast<Word>(0x7F7F7F7F7F7F7F7Full);
  return ((a & kLow) + (b & kLow)) ^ ((a ^ b) & ~kLow);
}

/// Panel `panel` into [quad of inputs][16 rows][4], every byte value + 128, or with FLIP the value itself.
template <class Word, int BOOKS, bool FLIP>
void expand_panel(const VqCodes& v, const std::byte* codes, std::byte* to) {
  constexpr std::int64_t kParts = sizeof(Word) / 4;
  constexpr Word kFlip = FLIP ? static_cast<Word>(0x8080808080808080ull) : 0;
  const std::uint8_t* second = v.entries + (sizeof(Word) << v.bits);
  std::uint8_t held[BOOKS][64];
  for (std::int64_t q = 0; q < v.quads; q += BOOKS, to += 4 * kParts * 64) {
    const std::uint8_t* first_codes = quad_codes(v, codes, q, held[0]);
    const std::uint8_t* second_codes = BOOKS == 2 ? quad_codes(v, codes, q + 1, held[BOOKS - 1]) : nullptr;
    for (std::int64_t row = 0; row < 16; ++row)
      for (std::int64_t i = 0; i < 4; ++i) {
        Word word;
        __builtin_memcpy(&word, v.entries + sizeof(Word) * first_codes[4 * row + i], sizeof(Word));
        if constexpr (BOOKS == 2) {
          Word other;
          __builtin_memcpy(&other, second + sizeof(Word) * second_codes[4 * row + i], sizeof(Word));
          word = add_bytes(word, other);
        }
        word ^= kFlip;
        std::byte* at = to + 64 * kParts * i + 4 * row;
        for (std::int64_t p = 0; p < kParts; ++p) {
          const auto part = static_cast<std::uint32_t>(word >> (32 * p % (8 * sizeof(Word))));
          __builtin_memcpy(at + 64 * p, &part, 4);
        }
      }
  }
}

/// What a panel's codes leave of its last block: half of it, where 4 vectors of 4 inputs end there.
inline void clear_rest(const IntWeight& w, std::byte* to) {
  const std::int64_t written = w.vq.quads / w.vq.books * w.vq.vector * 64, whole = w.layout.blocks * 512;
  for (std::int64_t i = written; i < whole; ++i) to[i] = std::byte{0};
}

template <bool FLIP>
inline void expand_vq(const IntWeight& w, std::int64_t panel, std::byte* to) {
  const std::byte* codes = w.blob + w.layout.codes + panel * w.vq.panel_bytes;
  if (w.vq.vector == 4) {
    w.vq.books == 1 ? expand_panel<std::uint32_t, 1, FLIP>(w.vq, codes, to)
                    : expand_panel<std::uint32_t, 2, FLIP>(w.vq, codes, to);
  } else {
    w.vq.books == 1 ? expand_panel<std::uint64_t, 1, FLIP>(w.vq, codes, to)
                    : expand_panel<std::uint64_t, 2, FLIP>(w.vq, codes, to);
  }
  clear_rest(w, to);
}

}  // namespace
}  // namespace sparing::kernels
