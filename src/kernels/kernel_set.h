#pragma once
// What an instruction set provides. Files compiled with ISA flags include only this and intrinsics and define nothing
// with external inline linkage: an AVX-512 copy of a shared inline function would be linked into every path.

#include <cstddef>
#include <cstdint>

#include "codecs/coded_weight.h"
#include "codecs/csr.h"
#include "codecs/int_group.h"
#include "codecs/lowrank.h"
#include "codecs/sign_lowrank.h"
#include "codecs/ternary_dict.h"
#include "kernels/q16.h"
#include "kernels/q8.h"

namespace sparing::kernels {

/// How groups cut blocks of 32.
enum class SegmentKind : std::uint8_t {
  whole,   ///< group is a multiple of 32: one segment a block
  half,    ///< group of 16: two
  quads,   ///< group is another multiple of 4: listed
  ragged,  ///< any other: the reference computes it
};

/// Quads [first, last) of a block, all of one group.
struct Segment {
  std::int32_t first, last, group;
};

/// How the codes of a vq_additive weight become bytes (vq_additive.h), value + 128 each.
struct VqCodes {
  const std::uint8_t* entries;  ///< [book][2^bits][vector]: the first book's + 128, modulo 256; null: no vq_additive
  std::int32_t vector, books, bits;
  std::int32_t planes, width[3], low[3];  ///< of the codes' bits
  std::int64_t quads, panel_bytes;        ///< of a panel
};

/// An int_group, integer lut_group or vq_additive weight, prepared.
struct IntWeight {
  IntGroupSpec spec;
  IntGroupLayout layout;
  std::int64_t rows, cols;
  const std::byte* blob;
  const std::uint8_t* table;  ///< lut_group: 2^bits entries + 128; null: codes are numbers. vq_additive: its entries
  float table_unit;           ///< what a step of the table is worth: scales count by it; 1 without a rounded table
  VqCodes vq;
  SegmentKind segments;
  std::int32_t blocks_per_group;       ///< whole
  const Segment* segment_list;         ///< quads
  const std::int32_t* segment_starts;  ///< quads: [blocks + 1] indices into the list
};

/// An int_rows weight: `codes` is that of its rows alone.
struct RowsWeight {
  IntWeight codes;
  std::uint64_t codes_at;  ///< in the term's blob
  const std::byte* index;  ///< u32 [codes.rows]
  std::int64_t panels() const { return (codes.rows + kPanelRows - 1) / kPanelRows; }
};

struct DenseWeight {
  DType dtype;
  std::int64_t rows, cols;
  const std::byte* data;
};

struct CsrWeight {
  CsrSpec spec;
  CsrLayout layout;
  std::int64_t rows, cols;
  const std::byte* blob;
};

/// One factor of a low-rank term, [rank, n].
struct FactorWeight {
  FactorSpec spec;
  FactorLayout layout;
  std::int64_t rank, n;
  const std::byte* blob;
};

struct TernaryWeight {
  TernaryLayout layout;
  std::int64_t rows, cols;
  const std::byte* blob;
  const std::uint64_t* dictionary;
};

/// A sign_lowrank weight. Its factors' blob is the term's.
struct SignWeight {
  SignLowRankLayout layout;
  FactorWeight inner, outer;
};

/// Where results go: y[token * stride + row]. `add`: onto what an earlier term left. Bias comes with the last term.
struct Output {
  float* y;
  std::int64_t stride;
  const float* bias;
  bool add;
};

/// All over panels of 16 rows [begin, end). `scratch` has scratch_bytes(cols) of the worker's own, 64-byte aligned.
using IntPanels = void (*)(const IntWeight&, const Q8Block* x, std::int64_t tokens, const Output&, std::int64_t begin,
                           std::int64_t end, std::byte* scratch);
using WidePanels = void (*)(const IntWeight&, const Q16Block* x, std::int64_t tokens, const Output&, std::int64_t begin,
                            std::int64_t end, std::byte* scratch);
using DensePanels = void (*)(const DenseWeight&, const float* x, std::int64_t tokens, std::int64_t x_stride,
                             const Output&, std::int64_t begin, std::int64_t end, std::byte* scratch);
using CsrPanels = void (*)(const CsrWeight&, const float* x, std::int64_t tokens, std::int64_t x_stride, const Output&,
                           std::int64_t begin, std::int64_t end);
/// z[token * z_stride + k] of components [begin, end): the inner product of a low-rank term.
using FactorInner = void (*)(const FactorWeight&, const float* x, std::int64_t tokens, std::int64_t x_stride, float* z,
                             std::int64_t z_stride, std::int64_t begin, std::int64_t end);
/// Its outer product, from all of z, over panels.
using FactorOuter = void (*)(const FactorWeight&, const float* z, std::int64_t tokens, std::int64_t z_stride,
                             const Output&, std::int64_t begin, std::int64_t end);
/// Values of up to 16 rows of a panel, [rows of it, cols]. `scratch` holds 128 bytes a component.
using SignPanel = void (*)(const SignWeight&, std::int64_t panel, float* out, std::byte* scratch);
/// Tokens [16 * tile, min(tokens, 16 * tile + 16)) into out[blocks of that tile].
using QuantiseTile = void (*)(const float* x, std::int64_t tokens, std::int64_t x_stride, std::int64_t cols,
                              std::int64_t tile, Q8Block* out);
using QuantiseWideTile = void (*)(const float* x, std::int64_t tokens, std::int64_t x_stride, std::int64_t cols,
                                  std::int64_t tile, Q16Block* out);

/// A token's inputs turned by a Hadamard transform, its blocks no smaller than kRotatedBlock: the bits of
/// apply_transform(). `norm`: 1 / sqrt(block).
using Rotate = void (*)(const std::byte* signs, std::int64_t cols, std::int64_t block, float norm, const float* x,
                        float* out);
inline constexpr int kRotatedBlock = 16;

struct KernelSet {
  IntPanels int_panels;
  DensePanels dense_panels;
  CsrPanels csr_panels;
  QuantiseTile quantise;
  WidePanels wide_panels;
  QuantiseWideTile quantise_wide;
  FactorInner factor_inner;
  FactorOuter factor_outer;
  SignPanel sign_panel;
  Rotate rotate = nullptr;  ///< null: apply_transform() does
};

extern const KernelSet reference_kernels;
#if defined(__x86_64__)
extern const KernelSet avx2_kernels, avx512_kernels, amx_kernels;
#elif defined(__aarch64__)
extern const KernelSet neon_kernels, neon_dotprod_kernels;
#endif

/// Codes of two panels as bytes, scales and zeros of their groups, and 16 rows of f32, in whose place AMX keeps the
/// segments of a row.
inline constexpr std::int64_t scratch_bytes(std::int64_t cols) {
  return (cols + 63) / 64 * 64 * (2 * 16 + 2 * 2 * 16 + 16 * 4) + 8192;
}

}  // namespace sparing::kernels
