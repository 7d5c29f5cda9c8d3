#pragma once
// Int8 activations, and the one order in which every kernel adds. This file is the definition; reference_int.cpp
// computes it in scalars and every fast kernel must give the same bits.
//
// Quantising. A token's inputs (after the transform) are cut into blocks of 32, the last padded with zeros. With
// amax = max |x|, by comparing bit patterns, so that an infinity or a NaN wins:
//   amax not finite:  scale = NaN, codes = 0
//   amax < 2^-100:    scale = 0, codes = 0
//   otherwise:        scale = amax / 127, code = round_to_nearest_even(x * (1 / scale)), all f32, each step rounded
//
// Products of int_group, lut_group and vq_additive (u = the code, or with a zero of 128 what it stands for in the table
// or the books, + 128). A segment is what a block of 32 inputs and a group have in common. For output r and one token,
// acc = 0, then for every group in ascending order, with part = 0 and total = 0, for each of its segments in ascending
// order:
//   D = sum u * code_x, S = sum code_x                exact, int32, over the segment; |D| < 2^24
//   part = fma(float(D), s_x, part)
//   total = total + float(S) * s_x                    the product rounded, then the sum
// and at the group's end
//   part = fma(-z, total, part)                       constant and integer zeros
//   acc = fma(part, s_w, acc)
//   acc = fma(m, total, acc)                          only with minima
// s_w is the group's decoded scale, z its zero, m its minimum, as group_values() gives them. A lut_group's table is
// taken as it is where all its entries are integers from -128 to 127. Any other is rounded to int8, entry / unit with
// unit = largest magnitude / 127, and s_w is the scale times unit. What a block costs beside its dot products is one
// conversion and one fma; the rest is paid once a group.
//
// Products of dense weights, and of every coding with f32 activations (its weights decoded to f32 first): inputs padded
// with zeros to a multiple of 16; lane l (of 16) is acc = fma(w, x, acc) over inputs l, l + 16, ... ascending; then
// lanes are added i + (i + 8), i + (i + 4), i + (i + 2), i + (i + 1).
//
// ternary_dict: fma(high, H, low * L), L and H the sums of the inputs whose weights are low or high, added one by one.
// csr: acc = fma(value, x[column], acc) over the row's values, ascending.
//
// lowrank, with f32 activations, its factors' values (codecs/lowrank.h) v [rank, inputs] and u [rank, outputs]:
//   z[k] = sum over the inputs of v[k, c] * x[c], in lanes as dense weights have them (padding: v as stored, x zero)
//   y[r] = acc after acc = fma(u[k, r], z[k], acc) over the components k, ascending, from 0
//
// sign_lowrank, with f32 activations: its values (codecs/sign_lowrank.h), then as dense weights.
//
// Terms are added in their order, then the bias.

#include <cstdint>

namespace sparing::kernels {

inline constexpr int kTileTokens = 16;

/// 16 tokens x 32 inputs, quantised. A call's activations are [token / 16][block] of these; tokens beyond the last hold
/// anything.
struct alignas(64) Q8Block {
  std::int8_t codes[kTileTokens][32];
  float scale[kTileTokens];
  float scaled_sum[3][kTileTokens];  ///< float(S) * s_x: of the whole block, of its first half, of its second
};

}  // namespace sparing::kernels
