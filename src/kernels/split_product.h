#pragma once
// f32 matrix products made of bf16 ones: x = high + low, both in bf16, and x w ~ high high + high low + low high,
// summed in f32 (Henry, Tang and Heinecke, arXiv:1904.06376). About 2^-18 of a factor is lost, f32 itself loses 2^-25;
// on AMX the three are faster than one in f32 on vectors.

#include <cstdint>

#include "tensor/buffer.h"

namespace sparing::kernels {

/// Whether the chosen instruction set multiplies so: AMX, on a processor with AMX-BF16.
bool has_split_products();

/// Rows [rows, cols] in both parts, as the tile unit reads them. Every use needs has_split_products().
class SplitRows {
 public:
  /// The left factor: rows are tokens. What was there before goes; its memory is used again.
  void set_tokens(const float* x, std::int64_t rows, std::int64_t cols, std::int64_t stride);
  /// The right factor: rows are outputs.
  void set_weights(const float* w, std::int64_t rows, std::int64_t cols);
  std::int64_t rows() const { return rows_; }
  std::int64_t cols() const { return cols_; }
  const std::byte* data() const { return data_.data(); }

 private:
  std::byte* resize(std::int64_t rows, std::int64_t cols);
  Buffer data_;
  std::int64_t rows_ = 0, cols_ = 0;
};

/// y [tokens, outputs] = x w', on the calling thread. x and w have as many columns.
void multiply(const SplitRows& x, const SplitRows& w, float* y, std::int64_t stride);

}  // namespace sparing::kernels
