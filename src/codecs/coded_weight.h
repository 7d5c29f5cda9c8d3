#pragma once
// How a weight is stored: a sum of coded terms over a transformed input,
//     y = sum_t term_t * T(x),
// at most one dense-coded base (dense, int_group, lut_group, ...) plus sparse (csr, int_rows) plus low-rank parts.
// Methods emit these, kernels compute with them, formats store them; this file is all that the three share.

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "base/result.h"
#include "tensor/buffer.h"
#include "tensor/dtype.h"

namespace sparing {

/// Row-major floats, as Hugging Face stores them: [rows, cols] of f32, f16 or bf16. Activations: f32.
struct DenseSpec {
  DType dtype = DType::f16;
  bool operator==(const DenseSpec&) const = default;
};

/// How a group's scale (or minimum) is stored.
enum class ScaleKind : std::uint8_t {
  f16,    ///< one f16 per row and group
  coded,  ///< d[row, group / super] * (code[row, group] - scale_offset): codes of scale_bits, d in f16
};

/// What a group subtracts.
enum class ZeroKind : std::uint8_t {
  constant,   ///< w = s * (q - zero_offset), nothing stored (symmetric)
  integer,    ///< w = s * (q - z), z of zero_bits per row and group
  f16_min,    ///< w = s * q + m, m in f16 per row and group (Q4_1, Q5_1)
  coded_min,  ///< w = s * q - dm[row, group / super] * code[row, group]: codes of zero_bits (Q4_K, Q5_K, Q2_K)
};

/// Scales per (row, group of consecutive inputs). The last group of a row may be ragged.
struct GroupSpec {
  std::int32_t group = 64;  ///< inputs per group, >= 1; >= cols means one group a row
  ScaleKind scale = ScaleKind::f16;
  std::int32_t scale_bits = 0;    ///< coded: 1..8
  std::int32_t scale_offset = 0;  ///< coded
  std::int32_t super = 0;         ///< coded, coded_min: groups per super-scale, >= 1
  bool operator==(const GroupSpec&) const = default;
};

/// Unsigned integer codes of `bits` with group scales. Activations: int8 in blocks of 32 with f32 scales (see q8.h).
/// Stored layout: int_group.h. All of ggml's Q*_0, Q*_1 and Q*_K types are instances.
struct IntGroupSpec {
  std::int32_t bits = 4;  ///< 2..8
  GroupSpec groups = {};
  ZeroKind zero = ZeroKind::constant;
  std::int32_t zero_bits = 0;    ///< integer, coded_min: 1..8
  std::int32_t zero_offset = 8;  ///< constant: 0..2^bits
  bool operator==(const IntGroupSpec&) const = default;
};

/// Codes of `bits` (2..4... 8) that index a table shared by the tensor: w = s * table[q]. IQ4_NL, IQ4_XS, nf4.
/// Activations as for int_group; kernels round a table to int8 unless its entries are integers in [-128, 127].
struct LutGroupSpec {
  std::int32_t bits = 4;
  GroupSpec groups = {};
  std::vector<float> table;  ///< 2^bits entries
  bool operator==(const LutGroupSpec&) const = default;
};

/// Vectors of consecutive inputs as sums of entries of shared books of int8, times a group's scale (vq_additive.h).
/// Activations as for int_group.
struct VqAdditiveSpec {
  std::int32_t vector = 8;  ///< inputs that a code stands for: 4 or 8; 1 with one book: a table in the blob
  std::int32_t books = 1;   ///< entries that are added: 1 or 2
  std::int32_t bits = 8;    ///< of a code: 2..8; a book has 2^bits entries
  GroupSpec groups = {};
  bool operator==(const VqAdditiveSpec&) const = default;
};

/// Rows of three levels, low, 0 and high, as words of 16 bits that each stand for up to 28 weights, the likeliest runs
/// where most are zero (ternary_dict.h). Activations: f32.
struct TernaryDictSpec {
  std::int64_t words = 0;  ///< of all rows
  bool operator==(const TernaryDictSpec&) const = default;
};

/// Compressed sparse rows: u32 row_start[rows + 1], then u16 or u32 columns, then f16 values, each 64-byte aligned.
struct CsrSpec {
  std::int64_t nonzeros = 0;
  bool wide_index = false;  ///< u32 columns (cols > 65536)
  bool operator==(const CsrSpec&) const = default;
};

/// A thin matrix [rank, n] of a low-rank term, coded along n: f16, or codes of 4 or 8 bits less 2^(bits - 1) under an
/// f16 scale per component and group.
struct FactorSpec {
  std::int32_t bits = 8;    ///< 4, 8 or 16
  std::int32_t group = 64;  ///< consecutive values per scale, a multiple of 16; >= n: one a component. 0 at 16 bits
  bool operator==(const FactorSpec&) const = default;
};

/// W = outer' inner, so y = outer' (inner T(x)): two thin products. inner [rank, cols], outer [rank, rows]. Activations
/// and what passes between the two: f32. Stored layout: lowrank.h.
struct LowRankSpec {
  std::int32_t rank = 8;  ///< 1 .. min(rows, cols)
  FactorSpec inner, outer;
  bool operator==(const LowRankSpec&) const = default;
};

/// W = S * (outer' inner), entry by entry: a sign a weight and magnitudes of low rank. Activations: f32. Stored layout:
/// sign_lowrank.h.
struct SignLowRankSpec {
  LowRankSpec magnitude;
  bool operator==(const SignLowRankSpec&) const = default;
};

/// Some rows in integer codes, the others zero: rows of another term that get more bits. Never a weight's first term.
/// Activations as for int_group. Stored layout: int_rows.h.
struct IntRowsSpec {
  std::int64_t count = 1;  ///< 1 .. rows
  IntGroupSpec codes = {};
  bool operator==(const IntRowsSpec&) const = default;
};

using CodecSpec = std::variant<DenseSpec, IntGroupSpec, LutGroupSpec, CsrSpec, LowRankSpec, VqAdditiveSpec,
                               TernaryDictSpec, SignLowRankSpec, IntRowsSpec>;

struct Term {
  CodecSpec spec;
  Blob blob;
};

enum class TransformKind : std::uint8_t {
  identity,
  permutation,  ///< T(x)[i] = x[index[i]]; blob: u16 (cols <= 65536) or u32 per input
  diagonal,     ///< T(x)[i] = x[i] * d[i]; blob: f16 per input
  hadamard,     ///< blocks of `block` (a power of two), signs folded in: T(x) = H (sign * x) / sqrt(block); blob: 1 bit
                ///< per input
};

struct Transform {
  TransformKind kind = TransformKind::identity;
  std::int32_t block = 0;  ///< hadamard
  Blob blob;
};

struct CodedWeight {
  std::int64_t rows = 0;  ///< outputs
  std::int64_t cols = 0;  ///< inputs
  Transform input;
  std::vector<Term> terms;
};

/// Equal, but for what only a weight's values decide: the entries of a lut_group's table, the words of a ternary_dict.
bool same_form(const CodecSpec& a, const CodecSpec& b);
/// "dense", "int_group", "lut_group", "csr", "lowrank", "vq_additive", "ternary_dict", "sign_lowrank", "int_rows".
std::string codec_name(const CodecSpec& spec);
/// "int_group 4b g64 f16 z4", for tables and messages.
std::string describe(const CodecSpec& spec);
/// Checks ranges; the message names the offending field.
Status validate(const CodecSpec& spec, std::int64_t rows, std::int64_t cols);
/// Exact size of a term's blob, padding included: the one function that every count of bytes trusts.
Result<std::uint64_t> blob_bytes(const CodecSpec& spec, std::int64_t rows, std::int64_t cols);
Result<std::uint64_t> blob_bytes(const Transform& transform, std::int64_t cols);
/// Bytes of all terms and of the transform, each rounded up to 64 as in the file.
std::uint64_t stored_bytes(const CodedWeight& weight);
/// Lets go of the pages behind all blobs that lie in a file.
void forget(const CodedWeight& weight);
/// Spec, sizes and (deep) the values themselves: finite scales, indices in range.
Status validate(const CodedWeight& weight, bool deep);

/// Sum of the terms for rows [row, row + count) as f32, [count, cols], in the transformed input's coordinates.
void decode_rows(const CodedWeight& weight, std::int64_t row, std::int64_t count, float* out);
/// The same with the transform folded in: the matrix that acts on x itself.
void decode_effective_rows(const CodedWeight& weight, std::int64_t row, std::int64_t count, float* out);

/// A dense weight around existing row-major data.
CodedWeight dense_weight(std::int64_t rows, std::int64_t cols, DType dtype, Blob blob);

}  // namespace sparing
