#pragma once
// Int16 activations, for the inputs whose int8 error costs a model too much (Op::activation_bits says which). This file
// is the definition; reference_wide.cpp computes it in scalars and every fast kernel must give the same bits.
//
// Quantising. One scale for a token's whole row (after the transform), padded with zeros. With amax = max |x|, by
// comparing bit patterns, so that an infinity or a NaN wins:
//   amax not finite:  scale = NaN, codes = 0
//   amax < 2^-100:    scale = 0, codes = 0
//   otherwise:        scale = amax / 32512, code = round_to_nearest_even(x * (1 / scale)), all f32, each step rounded
// A code is kept as two signed bytes, code = 256 * high + low, so that a product is two of the int8 kind.
//
// Products of int_group, lut_group and vq_additive. Where a group's length is a multiple of 32, or the
// whole row, a segment is a group cut from its start into pieces of 128 inputs; elsewhere it is what a block of 32
// inputs and a group have in common. For output r and one token, acc = 0, then for every segment in ascending order:
//   I = sum (code_w - z) * code_x (constant and integer zeros), sum code_w * code_x (minima),
//       sum table[code_w] * code_x (lut_group); S = sum code_x      exact: 128 * 256 * 32512 < 2^31
//   acc = fma(float(I), s_w, acc)
//   acc = fma(m, float(S), acc)                                     only with minima
// and at last y = acc * scale. s_w and m as in q8.h.

#include <cstdint>

#include "kernels/q8.h"

namespace sparing::kernels {

inline constexpr int kWideInputs = 64;         ///< of a Q16Block
inline constexpr int kWideBlocksPerPiece = 4;  ///< blocks of 32 inputs in the longest segment

/// 16 tokens x 64 inputs. A call's activations are [token / 16][block] of these; tokens beyond the last hold anything.
struct alignas(64) Q16Block {
  std::int8_t high[kTileTokens][kWideInputs];
  std::int8_t low[kTileTokens][kWideInputs];
  std::int32_t sum[4][kTileTokens];  ///< of the codes of 16 inputs each
  float scale[kTileTokens];          ///< of the token's row: written in its first block alone
};

}  // namespace sparing::kernels
