#pragma once
// ggml's block types, decoded bit-exactly and transcoded without loss into Sparing's codings.

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "codecs/coded_weight.h"
#include "tensor/arena.h"

namespace sparing {

enum class GgmlType : std::uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q2_k = 10,
  q3_k = 11,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  iq4_nl = 20,
  iq4_xs = 23,
  bf16 = 30,
};

struct GgmlTraits {
  GgmlType type;
  std::string_view name;  ///< "Q4_K"
  std::int32_t block_weights, block_bytes;
};
/// nullptr for a type that Sparing does not read.
const GgmlTraits* ggml_traits(std::uint32_t type_id);
/// The name of any type id ggml has had, for messages; "type 77" for one unknown.
std::string ggml_type_name(std::uint32_t type_id);

/// Exactly gguf-py's dequantize: `count` weights (a multiple of the block) to f32.
void ggml_decode(GgmlType type, Bytes blocks, std::int64_t count, float* out);

/// [rows, cols] of ggml blocks as a term with equal values. `row_order`, if given, says which source row each row takes
/// (the un-permutation of q and k). F32, F16 and BF16 become dense in place when no reordering is asked; the rest goes
/// to `arena` if there is one. A mapped file's pages are let go as they are read, so that little is in memory twice.
Result<Term> ggml_transcode(GgmlType type, std::int64_t rows, std::int64_t cols, Blob blocks,
                            const std::vector<std::int32_t>* row_order = nullptr, Arena* arena = nullptr);
/// The ggml type that can hold this term exactly, if there is one.
std::optional<GgmlType> ggml_exact_type(const CodecSpec& spec, std::int64_t cols);
/// Types that values can be rounded to: F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
bool ggml_can_encode(GgmlType type);
/// f32 rows to blocks of one of these, rounding as ggml does. `count` a multiple of the block.
Status ggml_encode(GgmlType type, const float* values, std::int64_t count, std::byte* out);

}  // namespace sparing
