#pragma once
// A coded weight as ggml blocks: exactly, in the smallest type that holds its codes and scales as they are, or rounded
// to a type that does not.

#include <cstdint>
#include <optional>

#include "codecs/ggml.h"

namespace sparing {

/// The smallest ggml type that holds these values exactly, if there is one.
///
/// Dense weights: their own type. One int_group or lut_group term over an untransformed input with f16 scales, groups
/// that are multiples of 32: Q4_0, Q5_0 or Q8_0 where every code less its zero is within the type's range (so 3 bits
/// with a zero fit Q4_0, 4 bits with a zero Q5_0), Q4_1 and Q5_1 where the group has an f16 minimum, IQ4_NL for its own
/// table. Codings that are a ggml type's own, the k-quants and IQ4_XS among them: that type. Anything else has none:
/// activation order, rotations, several terms, coded scales of another kind.
std::optional<GgmlType> ggml_holding_type(const CodedWeight& weight);

/// One row of such a weight as blocks of the type that ggml_holding_type gave.
void ggml_pack_row(GgmlType type, const CodedWeight& weight, std::int64_t row, std::byte* out);

}  // namespace sparing
