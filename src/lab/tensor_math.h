#pragma once
// The operations of the graph on libtorch tensors: autograd-capable, any device and floating dtype. The only header
// that pulls libtorch in; units that include it are few, and name the ops they use (ATen.h whole costs 8 s each).

#include <ATen/TensorOperators.h>
#include <ATen/core/Tensor.h>

#include "codecs/coded_weight.h"
#include "models/graph.h"

namespace sparing::lab {

/// The matrix that acts on the input itself, [rows, cols] f32 on the CPU.
at::Tensor decode(const CodedWeight& weight);
/// Rows of an embedding, [ids, cols] f32 on the CPU.
at::Tensor decode_rows_of(const CodedWeight& weight, const std::vector<std::int64_t>& rows);

/// x [tokens, width] normalised over each `span` consecutive inputs, in f32 at least.
at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& weight, std::int64_t span, double epsilon);

/// Cosines and sines [tokens, dimension / 2] of positions 0 .. tokens - 1.
struct Rotation {
  at::Tensor cosine, sine;
};
Rotation rotation(const RopeConfig& rope, std::int64_t tokens, const at::TensorOptions& options);
/// Rotates the first `dimension` inputs of each head (halves paired); x [tokens, heads * head_dim].
at::Tensor rope(const at::Tensor& x, const Rotation& rotation, std::int64_t heads, std::int64_t head_dim);

/// Causal attention within one sequence, or within each of several of equal length: rows are [sequence][position].
/// q [rows, heads * head_dim], k and v [rows, kv_heads * head_dim]; window 0: all earlier positions.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const Op& shape,
                     std::int64_t sequences);

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up);

}  // namespace sparing::lab
