#pragma once
// vq_additive: vectors of 4 or 8 consecutive inputs as a sum of entries of one or two shared books, times a group's
// scale:
//     w[row, vector * i .. vector * i + vector) = scale[row, group] * (book_0[code_0] + book_1[code_1])
// Entries are int8, and every sum that two books can give is as well (validate() insists), so that a weight is a byte
// times a scale: kernels expand codes to the byte panels of int_group and multiply as they do there.
//
// Rows come in panels of 16 (padded). A quad is 4 consecutive vectors' codes of one book for the 16 rows, byte
// 4 * row + vector % 4 of 64; the quads of a panel are [4 vectors][book]. They are kept in the bit planes of
// int_group.h, 8 quads a unit; the last unit holds only the chunks of 64 bytes that its quads reach, so codes of 8 bits
// have no padding. Order in the blob, every section 64-byte aligned:
//   codes   [panel][unit][plane]
//   scales  as in int_group.h, constant zero
//   books   int8 [book][2^bits][vector]
// Vectors of 1 input have one book, a table, and quads up to a whole block of 32 inputs: codes and scales are then laid
// out as a lut_group's, whose kernels read them.
// The row's last vector may be ragged: what its entry says beyond the row counts for nothing. Padding holds code 0.

#include <cstdint>
#include <vector>

#include "codecs/coded_weight.h"
#include "codecs/int_group.h"
#include "codecs/planes.h"

namespace sparing {

/// A panel's codes: quads in bit planes, the last unit cut.
struct CodeQuads {
  Planes planes;
  std::int64_t quads;

  CodeQuads(int bits, std::int64_t count) : planes(bits), quads(count) {}
  static constexpr std::int64_t kUnit = 8;
  std::int64_t in_unit(std::int64_t unit) const { return quads - unit * kUnit < kUnit ? quads - unit * kUnit : kUnit; }
  static std::int64_t chunks(std::int64_t in_unit, int width) { return (in_unit * width + 7) / 8; }
  /// Bytes of a panel.
  std::int64_t bytes() const {
    std::int64_t total = 0;
    for (int i = 0; i < planes.count; ++i)
      total += 64 * (quads / kUnit * planes.width[i] + chunks(quads % kUnit, planes.width[i]));
    return total;
  }
  /// Calls f(chunk offset in the panel, shift in the chunk, plane) for each plane of a quad.
  template <class F>
  void for_planes(std::int64_t quad, const F& f) const {
    const std::int64_t unit = quad / kUnit, inside = quad % kUnit, held = in_unit(unit);
    std::int64_t at = 0;
    for (int i = 0; i < planes.count; ++i) at += 64 * unit * planes.width[i];
    for (int i = 0; i < planes.count; ++i) {
      const std::int64_t per_chunk = 8 / planes.width[i];
      f(at + 64 * (inside / per_chunk), static_cast<int>(inside % per_chunk) * planes.width[i], i);
      at += 64 * chunks(held, planes.width[i]);
    }
  }
};

/// Where each section of a blob starts.
struct VqLayout {
  IntGroupLayout
      groups;  ///< panels, scales; codes: where they start; blocks: of 32 inputs; block_bytes: only of vectors of 1
  std::int64_t vectors;      ///< of a row
  std::int64_t quads;        ///< of a panel
  std::int64_t panel_bytes;  ///< codes of a panel
  std::uint64_t books, total;
};
Result<VqLayout> layout_of(const VqAdditiveSpec& spec, std::int64_t rows, std::int64_t cols);

/// The int_group whose scales it shares, and whose codes of 8 bits are its values.
IntGroupSpec as_int_group(const VqAdditiveSpec& spec);
CodeQuads code_quads(const VqAdditiveSpec& spec, const VqLayout& layout);

/// A weight taken apart, row-major.
struct VqParts {
  std::vector<std::uint8_t> codes;       ///< [rows, vectors, books]
  std::vector<std::int8_t> books;        ///< [books, 2^bits, vector]
  std::vector<std::uint16_t> scale_f16;  ///< as in IntGroupParts
  std::vector<std::uint8_t> scale_codes;
  std::vector<std::uint16_t> scale_super;
};
/// Errors: sizes that do not match, codes out of range, books whose sums leave int8.
Result<Term> pack(const VqAdditiveSpec& spec, std::int64_t rows, std::int64_t cols, const VqParts& parts);
Result<VqParts> unpack_vq(const Term& term, std::int64_t rows, std::int64_t cols);

/// One row as f32: scale * float(sum).
void decode_vq_row(const VqAdditiveSpec& spec, const VqLayout& layout, const std::byte* blob, std::int64_t cols,
                   std::int64_t row, float* out);
/// One row's sums, `cols` of them, as std::int8_t or float.
template <class T>
void read_vq_row(const VqAdditiveSpec& spec, const VqLayout& layout, const std::byte* blob, std::int64_t cols,
                 std::int64_t row, T* out);
/// Sums of two books fit int8 (always), and (deep) every scale is finite. `blob` has the layout's size.
Status validate_vq(const VqAdditiveSpec& spec, const VqLayout& layout, Bytes blob, bool deep);

}  // namespace sparing
