#include "lab/math/gemm.h"

#include <algorithm>
#include <vector>

#include "base/checked.h"
#include "lab/math/simd.h"

namespace sparing::math {
namespace {

constexpr std::int64_t kDepth = 256;  // inputs per chain: a packed panel pair stays in the first-level cache

template <class T>
struct Micro;
template <>
struct Micro<float> {
  static int rows() { return simd().f32_rows; }
  static int cols() { return simd().f32_cols; }
  static auto kernel() { return simd().micro_f32; }
};
template <>
struct Micro<double> {
  static int rows() { return simd().f64_rows; }
  static int cols() { return simd().f64_cols; }
  static auto kernel() { return simd().micro_f64; }
};

constexpr int kMaxTile = 12 * 32;

/// Rows of panels of A up to which B is read where it is: packing it would take as long as the product.
constexpr std::int64_t kFewPanels = 6;

// panel[k][width] of columns [begin, begin + width) of V [k, count], zero beyond count.
template <class T>
void pack_panel(std::int64_t k, std::int64_t count, std::int64_t begin, int width, T alpha, View<T> v, T* panel) {
  const std::int64_t used = std::min<std::int64_t>(width, count - begin);
  if (v.col_stride == 1) {
    for (std::int64_t p = 0; p < k; ++p, panel += width) {
      const T* source = v.data + p * v.row_stride + begin;
      for (std::int64_t i = 0; i < used; ++i) panel[i] = alpha * source[i];
      for (std::int64_t i = used; i < width; ++i) panel[i] = 0;
    }
    return;
  }
  for (std::int64_t i = 0; i < width; ++i) {
    const T* source = v.data + (begin + i) * v.col_stride;
    for (std::int64_t p = 0; p < k; ++p) panel[p * width + i] = i < used ? alpha * source[p * v.row_stride] : T(0);
  }
}

}  // namespace

template <class T>
void gemm(std::int64_t m, std::int64_t n, std::int64_t k, T alpha, View<T> a, View<T> b, T* c, std::int64_t ldc,
          ThreadPool& pool, Part part) {
  if (m <= 0 || n <= 0 || k <= 0) return;
  const int mr = Micro<T>::rows(), nr = Micro<T>::cols();
  const auto kernel = Micro<T>::kernel();
  const std::int64_t a_panels = static_cast<std::int64_t>(ceil_div(m, mr)),
                     b_panels = static_cast<std::int64_t>(ceil_div(n, nr)), depth = std::min(k, kDepth);
  const bool in_place = b.col_stride == 1 && a_panels <= kFewPanels;
  const std::int64_t packed_from = in_place ? n / nr : 0;  // of B's panels: only one that is not whole
  std::vector<T> packed(static_cast<std::size_t>((a_panels * mr + (b_panels - packed_from) * nr) * depth));
  T* const packed_a = packed.data();
  T* const packed_b = packed_a + a_panels * mr * depth;
  const View<T> a_by_depth{a.data, a.col_stride, a.row_stride};
  // Blocks of about 192 x 192 outputs: their packed rows stay in the second-level cache.
  const std::int64_t a_block = std::max(1, 192 / mr), b_block = std::max(1, 192 / nr);
  const std::int64_t a_blocks = static_cast<std::int64_t>(ceil_div(a_panels, a_block)),
                     b_blocks = static_cast<std::int64_t>(ceil_div(b_panels, b_block));
  std::vector<std::pair<std::int64_t, std::int64_t>> blocks;
  for (std::int64_t i = 0; i < a_blocks; ++i)
    for (std::int64_t j = 0; j < b_blocks; ++j)
      if (part == Part::all || std::min(n, (j + 1) * b_block * nr) > i * a_block * mr) blocks.emplace_back(i, j);

  for (std::int64_t start = 0; start < k; start += kDepth) {
    const std::int64_t now = std::min(kDepth, k - start);
    const View<T> b_now{b.data + start * b.row_stride, b.row_stride, b.col_stride};
    pool.parallel_for(a_panels + b_panels - packed_from, 1, [&](std::int64_t first, std::int64_t last, int) {
      for (std::int64_t p = first; p < last; ++p) {
        if (p < a_panels) {
          const View<T> from{a_by_depth.data + start * a_by_depth.row_stride, a_by_depth.row_stride,
                             a_by_depth.col_stride};
          pack_panel(now, m, p * mr, mr, alpha, from, packed_a + p * mr * now);
        } else {
          const std::int64_t j = p - a_panels + packed_from;
          pack_panel(now, n, j * nr, nr, T(1), b_now, packed_b + (j - packed_from) * nr * now);
        }
      }
    });
    pool.parallel_for(static_cast<std::int64_t>(blocks.size()), 1, [&](std::int64_t first, std::int64_t last, int) {
      alignas(64) T tile[kMaxTile];
      for (std::int64_t block = first; block < last; ++block) {
        const auto [bi, bj] = blocks[static_cast<std::size_t>(block)];
        const std::int64_t j_end = std::min(b_panels, (bj + 1) * b_block),
                           i_end = std::min(a_panels, (bi + 1) * a_block);
        for (std::int64_t j = bj * b_block; j < j_end; ++j)
          for (std::int64_t i = bi * a_block; i < i_end; ++i) {
            if (part == Part::upper && (j + 1) * nr <= i * mr) continue;
            const bool where_it_is = j < packed_from;
            kernel(now, packed_a + i * mr * now,
                   where_it_is ? b_now.data + j * nr : packed_b + (j - packed_from) * nr * now,
                   where_it_is ? b_now.row_stride : nr, tile);
            const std::int64_t rows = std::min<std::int64_t>(mr, m - i * mr),
                               cols = std::min<std::int64_t>(nr, n - j * nr);
            for (std::int64_t r = 0; r < rows; ++r) {
              T* out = c + (i * mr + r) * ldc + j * nr;
              const T* in = tile + r * nr;
              for (std::int64_t q = 0; q < cols; ++q) out[q] += in[q];
            }
          }
      }
    });
  }
}

template void gemm<float>(std::int64_t, std::int64_t, std::int64_t, float, View<float>, View<float>, float*,
                          std::int64_t, ThreadPool&, Part);
template void gemm<double>(std::int64_t, std::int64_t, std::int64_t, double, View<double>, View<double>, double*,
                           std::int64_t, ThreadPool&, Part);

void add_gram(std::int64_t tokens, std::int64_t n, const float* x, std::int64_t ldx, float* h, ThreadPool& pool) {
  gemm<float>(n, n, tokens, 1.0f, transposed(x, ldx), rows_of(x, ldx), h, n, pool, Part::upper);
}

template <class T>
void mirror_upper(std::int64_t n, T* h) {
  constexpr std::int64_t kTile = 32;  // both sides of the diagonal stay in cache
  for (std::int64_t i0 = 0; i0 < n; i0 += kTile)
    for (std::int64_t j0 = i0; j0 < n; j0 += kTile)
      for (std::int64_t i = i0; i < std::min(n, i0 + kTile); ++i)
        for (std::int64_t j = std::max(j0, i + 1); j < std::min(n, j0 + kTile); ++j) h[j * n + i] = h[i * n + j];
}
template void mirror_upper<float>(std::int64_t, float*);
template void mirror_upper<double>(std::int64_t, double*);

}  // namespace sparing::math
