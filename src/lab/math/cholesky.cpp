#include "lab/math/cholesky.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "lab/math/gemm.h"

namespace sparing::math {
namespace {

constexpr std::int64_t kBlock = 96;

// The same factorisation of one diagonal block, column by column from the last.
template <class T>
bool factor_block(std::int64_t n, T* h, std::int64_t ld) {
  for (std::int64_t j = n - 1; j >= 0; --j) {
    const T pivot = h[j * ld + j];
    if (!(pivot > 0) || !std::isfinite(pivot)) return false;
    const T root = std::sqrt(pivot);
    h[j * ld + j] = root;
    for (std::int64_t i = 0; i < j; ++i) h[i * ld + j] /= root;
    for (std::int64_t i = 0; i < j; ++i)
      for (std::int64_t k = i; k < j; ++k) h[i * ld + k] -= h[i * ld + j] * h[k * ld + j];
  }
  return true;
}

}  // namespace

template <class T>
bool factor_reversed(std::int64_t n, T* h, ThreadPool& pool) {
  std::vector<T> columns(static_cast<std::size_t>(kBlock * kBlock));
  for (std::int64_t end = n; end > 0;) {
    const std::int64_t begin = std::max<std::int64_t>(0, end - kBlock), width = end - begin;
    T* const corner = h + begin * n + begin;
    if (!factor_block(width, corner, n)) return false;
    // Rows above: x R_kk' = h, each row on its own, with R_kk' laid out so that the inner loop runs along it.
    for (std::int64_t j = 0; j < width; ++j)
      for (std::int64_t k = 0; k <= j; ++k) columns[static_cast<std::size_t>(j * kBlock + k)] = corner[k * n + j];
    pool.parallel_for(begin, 8, [&](std::int64_t first, std::int64_t last, int) {
      for (std::int64_t i = first; i < last; ++i) {
        T* const row = h + i * n + begin;
        for (std::int64_t j = width - 1; j >= 0; --j) {
          const T* const column = columns.data() + j * kBlock;
          const T x = row[j] / column[j];
          row[j] = x;
          for (std::int64_t k = 0; k < j; ++k) row[k] -= x * column[k];
        }
      }
    });
    gemm<T>(begin, begin, width, T(-1), rows_of(static_cast<const T*>(h) + begin, n),
            transposed(static_cast<const T*>(h) + begin, n), h, n, pool, Part::upper);
    end = begin;
  }
  return true;
}
template bool factor_reversed<float>(std::int64_t, float*, ThreadPool&);
template bool factor_reversed<double>(std::int64_t, double*, ThreadPool&);

bool solve_spd(std::int64_t n, double* a, double* b) {
  for (std::int64_t j = 0; j < n; ++j) {
    double pivot = a[j * n + j];
    for (std::int64_t k = 0; k < j; ++k) pivot -= a[j * n + k] * a[j * n + k];
    if (!(pivot > 0) || !std::isfinite(pivot)) return false;
    const double root = std::sqrt(pivot);
    a[j * n + j] = root;
    for (std::int64_t i = j + 1; i < n; ++i) {
      double sum = a[i * n + j];
      for (std::int64_t k = 0; k < j; ++k) sum -= a[i * n + k] * a[j * n + k];
      a[i * n + j] = sum / root;
    }
  }
  for (std::int64_t i = 0; i < n; ++i) {
    double sum = b[i];
    for (std::int64_t k = 0; k < i; ++k) sum -= a[i * n + k] * b[k];
    b[i] = sum / a[i * n + i];
  }
  for (std::int64_t i = n - 1; i >= 0; --i) {
    double sum = b[i];
    for (std::int64_t k = i + 1; k < n; ++k) sum -= a[k * n + i] * b[k];
    b[i] = sum / a[i * n + i];
  }
  return true;
}

}  // namespace sparing::math
