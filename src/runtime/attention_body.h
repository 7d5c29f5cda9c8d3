// Attention over simd.h; included by one unit per instruction set.
//
// Online softmax (Milakov and Gimelshein, arXiv:1805.02867) over blocks of 64 positions that start at multiples of 64.
// A masked position contributes an exact zero, so a query's result is the same whether its block was computed alone
// (decoding) or beside later positions (a prompt).
#pragma once
#include "runtime/kv_body.h"
#include "runtime/ops.h"
#include "runtime/simd.h"

namespace sparing {
namespace {

/// c[r][16 * V] (+)= sum over i < depth, ascending, of a[r][i] * b.row(i)[16 * V].
template <int R, int V, class B>
inline void product_tile(std::int64_t depth, const float* a, std::int64_t a_stride, const B& b, float* c,
                         std::int64_t c_stride, bool accumulate) {
  Vec sum[R][V];
  SPARING_UNROLL
  for (int r = 0; r < R; ++r) {
    SPARING_UNROLL
    for (int v = 0; v < V; ++v) sum[r][v] = accumulate ? load(c + r * c_stride + v * kLanes) : splat(0.0f);
  }
  for (std::int64_t i = 0; i < depth; ++i) {
    Vec row[V];
    b.template row<V>(i, row);
    SPARING_UNROLL
    for (int r = 0; r < R; ++r) {
      const Vec factor = splat(a[r * a_stride + i]);
      SPARING_UNROLL
      for (int v = 0; v < V; ++v) sum[r][v] = fma(factor, row[v], sum[r][v]);
    }
  }
  SPARING_UNROLL
  for (int r = 0; r < R; ++r) {
    SPARING_UNROLL
    for (int v = 0; v < V; ++v) store(c + r * c_stride + v * kLanes, sum[r][v]);
  }
}

constexpr std::int64_t kTileRows = 6;

template <int V, class B>
inline void product_columns(std::int64_t rows, std::int64_t depth, const float* a, std::int64_t a_stride, const B& b,
                            float* c, std::int64_t c_stride, bool accumulate) {
  std::int64_t r = 0;
  for (; r + kTileRows <= rows; r += kTileRows) {
    product_tile<kTileRows, V>(depth, a + r * a_stride, a_stride, b, c + r * c_stride, c_stride, accumulate);
  }
  a += r * a_stride;
  c += r * c_stride;
  switch (rows - r) {
    case 1:
      return product_tile<1, V>(depth, a, a_stride, b, c, c_stride, accumulate);
    case 2:
      return product_tile<2, V>(depth, a, a_stride, b, c, c_stride, accumulate);
    case 3:
      return product_tile<3, V>(depth, a, a_stride, b, c, c_stride, accumulate);
    case 4:
      return product_tile<4, V>(depth, a, a_stride, b, c, c_stride, accumulate);
    case 5:
      return product_tile<5, V>(depth, a, a_stride, b, c, c_stride, accumulate);
    default:
      return;
  }
}

#if defined(__AVX512F__)
constexpr int kWide = 4;  // 6 x 4 accumulators and 4 operands of 32 registers
#else
constexpr int kWide = 1;  // 6 x 2 accumulators and 2 operands of 16
#endif

/// `columns` a multiple of 16. b.from(j): its columns from j on.
template <class B>
inline void product(std::int64_t rows, std::int64_t depth, std::int64_t columns, const float* a, std::int64_t a_stride,
                    const B& b, float* c, std::int64_t c_stride, bool accumulate) {
  std::int64_t j = 0;
  for (; j + kWide * kLanes <= columns; j += kWide * kLanes) {
    product_columns<kWide>(rows, depth, a, a_stride, b.from(j), c + j, c_stride, accumulate);
  }
  for (; j < columns; j += kLanes) {
    product_columns<1>(rows, depth, a, a_stride, b.from(j), c + j, c_stride, accumulate);
  }
}

/// Rows of floats, `stride` apart.
struct FloatRows {
  const float* p;
  std::int64_t stride;
  template <int V>
  void row(std::int64_t i, Vec* out) const {
    SPARING_UNROLL
    for (int v = 0; v < V; ++v) out[v] = load(p + i * stride + v * kLanes);
  }
  FloatRows from(std::int64_t j) const { return {p + j, stride}; }
};
/// Values in f16, as stored.
struct HalfValues {
  const std::uint16_t* p;
  std::int64_t stride;
  template <int V>
  void row(std::int64_t i, Vec* out) const {
    SPARING_UNROLL
    for (int v = 0; v < V; ++v) out[v] = load_half(p + i * stride + v * kLanes);
  }
  HalfValues from(std::int64_t j) const { return {p + j, stride}; }
};
/// Panels of keys in f16, as stored.
struct HalfKeys {
  const std::uint16_t* p;
  std::int64_t head_dim;
  template <int V>
  void row(std::int64_t i, Vec* out) const {
    SPARING_UNROLL
    for (int v = 0; v < V; ++v) out[v] = load_half(p + (v * head_dim + i) * kKeyPanel);
  }
  HalfKeys from(std::int64_t j) const { return {p + j * head_dim, head_dim}; }
};

/// Where attend() keeps what, in floats from the start of its scratch.
struct ScratchLayout {
  std::int64_t q, keys, values, scores, out, sums, highest, size;
  ScratchLayout(std::int64_t rows, std::int64_t head_dim) {
    const std::int64_t stride = padded(head_dim);
    q = 0;
    keys = q + rows * stride;
    values = keys + head_dim * kKeyBlock;
    scores = values + kKeyBlock * stride;
    out = scores + rows * kKeyBlock;
    sums = out + rows * stride;
    highest = sums + rows * kLanes;
    size = highest + padded(rows);
  }
};

/// One row of scores to weights: raises the row's maximum, rescales what has been summed under the old one.
/// Positions [lo, hi) of the block are visible.
inline void soften_row(float* scores, std::int64_t panels, std::int64_t lo, std::int64_t hi, float& highest,
                       float* sums, float* out, std::int64_t stride) {
  const float low = -__builtin_inff();
  Vec top = splat(low);
  const bool whole = lo <= 0 && hi >= panels * kKeyPanel;
  for (std::int64_t p = 0; p < panels; ++p) {
    Vec s = load(scores + p * kLanes);
    if (!whole) {
      const auto clamp = [&](std::int64_t x) { return x < 0 ? 0 : x > kLanes ? kLanes : x; };
      const std::int64_t from = clamp(lo - p * kLanes), to = clamp(hi - p * kLanes);
      s = keep_lanes(s, from, to < from ? from : to, low);
      store(scores + p * kLanes, s);
    }
    top = max(s, top);
  }
  const float block_top = max_of(top);
  if (block_top > highest) {
    const Vec factor = exp(splat(highest - block_top));
    highest = block_top;
    store(sums, load(sums) * factor);
    for (std::int64_t i = 0; i < stride; i += kLanes) store(out + i, load(out + i) * factor);
  }
  Vec sum = load(sums);
  const Vec peak = splat(highest);
  for (std::int64_t p = 0; p < panels; ++p) {
    const Vec weight = exp(load(scores + p * kLanes) - peak);
    store(scores + p * kLanes, weight);
    sum = sum + weight;
  }
  store(sums, sum);
}

void attend(const AttentionTile& tile) {
  const std::int64_t head_dim = tile.head_dim, stride = padded(head_dim), group = tile.group;
  const std::int64_t rows = tile.tokens * group;
  const ScratchLayout at(rows, head_dim);
  const struct {
    float *q, *keys, *values, *scores, *out, *sums, *highest;
  } s{tile.scratch + at.q,   tile.scratch + at.keys, tile.scratch + at.values, tile.scratch + at.scores,
      tile.scratch + at.out, tile.scratch + at.sums, tile.scratch + at.highest};
  const Vec scale = splat(tile.scale);
  for (std::int64_t r = 0; r < rows; ++r) {
    const float* q = tile.q + r / group * tile.q_stride + r % group * head_dim;
    for (std::int64_t i = 0; i < head_dim; i += kLanes) {
      const std::int64_t n = head_dim - i < kLanes ? head_dim - i : kLanes;
      store(s.q + r * stride + i, load(q + i, n) * scale);
    }
    for (std::int64_t i = 0; i < stride; i += kLanes) store(s.out + r * stride + i, splat(0.0f));
    store(s.sums + r * kLanes, splat(0.0f));
    s.highest[r] = -1e30f;  // finite, so that a block in which nothing is visible changes nothing
  }

  const std::int64_t last = tile.position + tile.tokens - 1;
  const std::int64_t oldest =
      tile.window > 0 && tile.position - tile.window + 1 > 0 ? tile.position - tile.window + 1 : 0;
  for (std::int64_t block = oldest / kKeyBlock; block <= last / kKeyBlock; ++block) {
    const std::int64_t base = block * kKeyBlock;
    const std::int64_t positions = last + 1 - base < kKeyBlock ? last + 1 - base : kKeyBlock;
    const std::int64_t panels = (positions + kKeyPanel - 1) / kKeyPanel;
    const bool own = block == tile.position / kKeyBlock;
    // Few rows read each key once: converting them on the way is quicker than setting them out first.
    const bool keys_direct = rows <= kTileRows && (tile.kv.type == KvType::f16 || (is_coded(tile.kv.type) && own));
    if (keys_direct) {
      const auto* keys = is_coded(tile.kv.type)
                             ? tile.kv.recent
                             : reinterpret_cast<const std::uint16_t*>(tile.kv.keys) + base * head_dim;
      product(rows, head_dim, panels * kKeyPanel, s.q, stride, HalfKeys{keys, head_dim}, s.scores, kKeyBlock, false);
    } else {
      load_keys(tile.kv, block, panels, head_dim, own, s.keys);
      product(rows, head_dim, panels * kKeyPanel, s.q, stride, FloatRows{s.keys, kKeyBlock}, s.scores, kKeyBlock,
              false);
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      const std::int64_t at_row = tile.position + r / group - base;
      soften_row(s.scores + r * kKeyBlock, panels, tile.window > 0 ? at_row - tile.window + 1 : 0, at_row + 1,
                 s.highest[r], s.sums + r * kLanes, s.out + r * stride, stride);
    }
    if (rows <= kTileRows && tile.kv.type == KvType::f16) {
      const auto* values = reinterpret_cast<const std::uint16_t*>(tile.kv.values) + base * stride;
      product(rows, positions, stride, s.scores, kKeyBlock, HalfValues{values, stride}, s.out, stride, true);
    } else {
      load_values(tile.kv, base, positions, stride, s.values);
      product(rows, positions, stride, s.scores, kKeyBlock, FloatRows{s.values, stride}, s.out, stride, true);
    }
  }

  for (std::int64_t r = 0; r < rows; ++r) {
    float* out = tile.out + r / group * tile.out_stride + r % group * head_dim;
    const Vec total = splat(sum_of(load(s.sums + r * kLanes)));
    for (std::int64_t i = 0; i < head_dim; i += kLanes) {
      const std::int64_t n = head_dim - i < kLanes ? head_dim - i : kLanes;
      store(out + i, load(s.out + r * stride + i) / total, n);
    }
  }
}

}  // namespace
}  // namespace sparing
