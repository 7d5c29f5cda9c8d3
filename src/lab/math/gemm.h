#pragma once
// Matrix products whose bits depend on neither threads nor instruction set: every output is a chain of fused
// multiply-adds over 256 inputs, the chains added in ascending order, and work is split over outputs only.

#include <cstdint>

#include "base/thread_pool.h"

namespace sparing::math {

/// Element (i, j) is data[i * row_stride + j * col_stride].
template <class T>
struct View {
  const T* data;
  std::int64_t row_stride, col_stride;
};
template <class T>
View<T> rows_of(const T* data, std::int64_t row_stride) {
  return {data, row_stride, 1};
}
template <class T>
View<T> transposed(const T* data, std::int64_t row_stride) {
  return {data, 1, row_stride};
}

/// Which part of C is wanted: for a symmetric product only tiles that touch the upper triangle.
enum class Part { all, upper };

/// C[m, n] += alpha * A[m, k] * B[k, n], C row-major with stride ldc. float and double. With Part::upper the strict
/// lower triangle of C holds unspecified values afterwards.
template <class T>
void gemm(std::int64_t m, std::int64_t n, std::int64_t k, T alpha, View<T> a, View<T> b, T* c, std::int64_t ldc,
          ThreadPool& pool, Part part = Part::all);

/// H[n, n] += X'X over `tokens` rows of X [tokens, n] (row stride ldx): the upper triangle only.
void add_gram(std::int64_t tokens, std::int64_t n, const float* x, std::int64_t ldx, float* h, ThreadPool& pool);
/// Copies the upper triangle over the lower.
template <class T>
void mirror_upper(std::int64_t n, T* h);

}  // namespace sparing::math
