#pragma once
// The runtime's own arithmetic between the matrix products: one table of functions per instruction set. All sets give
// the same bits (see simd.h). Only plain types here: the units behind it are compiled with flags of their own.

#include <cstddef>
#include <cstdint>

#include "runtime/kv_type.h"

namespace sparing {

/// Key positions per step of attention, counted from position 0 of the sequence, so that what is summed with what does
/// not depend on how a prompt was cut.
inline constexpr std::int64_t kKeyBlock = 64;
/// Positions per panel of stored keys.
inline constexpr std::int64_t kKeyPanel = 16;

/// One KV head's keys and values for one sequence; `padded` is head_dim rounded up to 16, the padding zero.
/// f32, f16. Keys: [position / 16][head_dim][16], the operand of a product with 16 positions per register.
///           Values: [position][padded].
/// int16. Keys: for each block of 64 positions their steps in f32, then codes [4][pairs][16][2], pairs of channels
///           beside each other. Values: for each block steps, then codes [32][padded][2], pairs of positions.
/// int8, int4. Keys: for each block of 64 positions f16 scales [head_dim], f16 minima [head_dim], then codes
///           [4][head_dim][16]. Values: for each position codes [padded], f16 scale, f16 minimum. A run of 16 4-bit
///           codes is 8 bytes: code i in the low half of byte i, code i + 8 in its high half.
struct KvHead {
  KvType type;
  std::byte* keys;
  std::byte* values;
  std::uint16_t* recent;  ///< int8, int4: one block's keys in f16, [4][head_dim][16]
};
/// Bytes of 64 positions' keys (values), padding included.
std::uint64_t key_block_bytes(KvType type, std::int64_t head_dim);
std::uint64_t value_block_bytes(KvType type, std::int64_t head_dim);

/// `tokens` consecutive positions of one sequence x the `group` query heads that share one KV head. With coded keys all
/// positions are of one block, whose keys kv.recent holds.
struct AttentionTile {
  const float* q;  ///< first token, first head of the group; head h of token t at q + t * q_stride + h * head_dim
  float* out;      ///< likewise
  std::int64_t q_stride, out_stride;
  std::int64_t position;  ///< of the first token
  std::int32_t tokens, group, head_dim, window;
  float scale;
  KvHead kv;
  float* scratch;  ///< attention_scratch(rows, head_dim) floats, 64-byte aligned
};

/// Floats that attend() needs for tiles of up to `rows` = tokens * group.
std::int64_t attention_scratch(std::int64_t rows, std::int64_t head_dim);

struct Ops {
  /// Over each `span` of `n` values: x / sqrt(mean(x^2) + eps) * weight. `out` may be `x`.
  void (*rms_norm)(const float* x, const float* weight, float* out, std::int64_t n, std::int64_t span, float eps);
  void (*add)(const float* a, const float* b, float* out, std::int64_t n);
  /// gate / (1 + e^-gate) * up
  void (*swiglu)(const float* gate, const float* up, float* out, std::int64_t n);
  /// Rotates inputs i and i + dimension / 2 of each head by the angle whose cosine and sine are given, dimension / 2 of
  /// each. `out` may be `x`.
  void (*rope)(const float* x, float* out, std::int64_t heads, std::int64_t head_dim, std::int64_t dimension,
               const float* cosine, const float* sine);
  /// Stores one position's key and value, head_dim floats each. A coded type's key goes to kv.recent only.
  void (*store_kv)(const KvHead& kv, const float* key, const float* value, std::int64_t position,
                   std::int64_t head_dim);
  /// Codes the 64 keys in kv.recent as block `block`.
  void (*code_keys)(const KvHead& kv, std::int64_t block, std::int64_t head_dim);
  /// out = softmax(q k' scale) v over the positions each token may see: its own and earlier, `window` of them if > 0.
  void (*attend)(const AttentionTile& tile);
};

const Ops& portable_ops();
const Ops& avx2_ops();    ///< AVX2, FMA, F16C
const Ops& avx512_ops();  ///< AVX-512 F, BW, DQ, VL, VNNI
/// The table that suits kernels::chosen_isa().
const Ops& chosen_ops();

}  // namespace sparing
