// Attention in f32 over simd.h, and the choice between that and int16; included by one unit per instruction set.
#pragma once
#include "runtime/attention_common.h"
#include "runtime/int_attention_body.h"
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

template <int V, class B>
inline void product_columns(std::int64_t rows, std::int64_t depth, const float* a, std::int64_t a_stride, const B& b,
                            float* c, std::int64_t c_stride, bool accumulate) {
  each_row_tile(rows, [&]<int R>(std::int64_t r) {
    product_tile<R, V>(depth, a + r * a_stride, a_stride, b, c + r * c_stride, c_stride, accumulate);
  });
}

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

/// Where attend_floats() keeps what, in floats from the start of its scratch.
struct FloatScratch {
  std::int64_t q, keys, values, scores, softmax, size;
  FloatScratch(std::int64_t rows, std::int64_t head_dim) {
    const std::int64_t stride = padded(head_dim);
    q = 0;
    keys = q + rows * stride;
    values = keys + head_dim * kKeyBlock;
    scores = values + kKeyBlock * stride;
    softmax = scores + rows * kKeyBlock;
    size = softmax + Softmax::floats(rows, head_dim);
  }
};

inline void attend_floats(const AttentionTile& tile) {
  const std::int64_t head_dim = tile.head_dim, stride = padded(head_dim);
  const std::int64_t rows = std::int64_t{tile.tokens} * tile.group;
  const FloatScratch at(rows, head_dim);
  float *q = tile.scratch + at.q, *keys = tile.scratch + at.keys, *values = tile.scratch + at.values;
  float* scores = tile.scratch + at.scores;
  Softmax softmax(tile, tile.scratch + at.softmax);
  const Vec scale = splat(tile.scale);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t i = 0; i < head_dim; i += kLanes) {
      const std::int64_t n = head_dim - i < kLanes ? head_dim - i : kLanes;
      store(q + r * stride + i, load(softmax.query(r) + i, n) * scale);
    }
  }
  const KeyBlocks blocks(tile);
  for (std::int64_t block = blocks.first; block <= blocks.last; ++block) {
    const std::int64_t base = block * kKeyBlock, positions = blocks.positions(block), panels = blocks.panels(block);
    const bool own = block == tile.position / kKeyBlock;
    // Few rows read each key once: converting them on the way is quicker than setting them out first.
    const bool keys_direct = rows <= kTileRows && (tile.kv.type == KvType::f16 || (is_coded(tile.kv.type) && own));
    if (keys_direct) {
      const auto* halves = is_coded(tile.kv.type)
                               ? tile.kv.recent
                               : reinterpret_cast<const std::uint16_t*>(tile.kv.keys) + base * head_dim;
      product(rows, head_dim, panels * kKeyPanel, q, stride, HalfKeys{halves, head_dim}, scores, kKeyBlock, false);
    } else {
      load_keys(tile.kv, block, panels, head_dim, own, keys);
      product(rows, head_dim, panels * kKeyPanel, q, stride, FloatRows{keys, kKeyBlock}, scores, kKeyBlock, false);
    }
    for (std::int64_t r = 0; r < rows; ++r) softmax.take(r, block, scores + r * kKeyBlock, panels);
    if (rows <= kTileRows && tile.kv.type == KvType::f16) {
      const auto* halves = reinterpret_cast<const std::uint16_t*>(tile.kv.values) + base * stride;
      product(rows, positions, stride, scores, kKeyBlock, HalfValues{halves, stride}, softmax.out(0), stride, true);
    } else {
      load_values(tile.kv, base, positions, stride, values);
      product(rows, positions, stride, scores, kKeyBlock, FloatRows{values, stride}, softmax.out(0), stride, true);
    }
  }
  softmax.finish();
}

void attend(const AttentionTile& tile) {
  if (tile.kv.type == KvType::int16) return attend_ints(tile);
  attend_floats(tile);
}

}  // namespace
}  // namespace sparing
