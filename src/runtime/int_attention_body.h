// Attention over keys and values in int16 (kv_int16_body.h), over simd.h; included by one unit per instruction set.
//
// Both products are sums of products of pairs of int16 in int32: exact, and two multiplications a lane where floats
// have one. A query is coded once, the weights of a block of positions after its softmax step.
#pragma once
#include "runtime/attention_common.h"
#include "runtime/kv_body.h"

namespace sparing {
namespace {

/// finish(r, v, sum over i < depth of a[r]'s pair i times the pairs at b + i * b_row + v * b_vec) for R rows, V
/// registers.
template <int R, int V, class F>
[[gnu::always_inline]] inline void pair_tile(std::int64_t depth, const std::int16_t* a, std::int64_t a_stride,
                                             const std::int16_t* b, std::int64_t b_row, std::int64_t b_vec,
                                             F&& finish) {
  Ints sum[R][V];
  SPARING_UNROLL
  for (int r = 0; r < R; ++r) {
    SPARING_UNROLL
    for (int v = 0; v < V; ++v) sum[r][v] = no_ints();
  }
  for (std::int64_t i = 0; i < depth; ++i) {
    Ints row[V];
    SPARING_UNROLL
    for (int v = 0; v < V; ++v) row[v] = load_pairs(b + i * b_row + v * b_vec);
    SPARING_UNROLL
    for (int r = 0; r < R; ++r) {
      const Ints pair = splat_pair(a + r * a_stride + i * 2);
      SPARING_UNROLL
      for (int v = 0; v < V; ++v) sum[r][v] = dot_pairs(sum[r][v], pair, row[v]);
    }
  }
  SPARING_UNROLL
  for (int r = 0; r < R; ++r) {
    SPARING_UNROLL
    for (int v = 0; v < V; ++v) finish(r, v, sum[r][v]);
  }
}

/// The same for any number of rows and registers: finish(row, register, sum).
template <class F>
inline void pair_product(std::int64_t rows, std::int64_t depth, std::int64_t vectors, const std::int16_t* a,
                         std::int64_t a_stride, const std::int16_t* b, std::int64_t b_row, std::int64_t b_vec,
                         F&& finish) {
  const auto columns = [&]<int V>(std::int64_t at) {
    each_row_tile(rows, [&]<int R>(std::int64_t first) {
      pair_tile<R, V>(
          depth, a + first * a_stride, a_stride, b + at * b_vec, b_row,
          b_vec, [&](int r, int v, Ints sum) __attribute__((always_inline)) { finish(first + r, at + v, sum); });
    });
  };
  std::int64_t at = 0;
  for (; at + kWide <= vectors; at += kWide) columns.template operator()<kWide>(at);
  for (; at < vectors; ++at) columns.template operator()<1>(at);
}

/// Where attend_ints() keeps what, in floats from the start of its scratch.
struct IntScratch {
  std::int64_t q, q_steps, scores, weights, weight_steps, softmax, size;
  IntScratch(std::int64_t rows, std::int64_t head_dim) {
    q = 0;  // [rows][padded(head_dim)] codes
    q_steps = q + rows * padded(head_dim) / 2;
    scores = q_steps + padded(rows);
    weights = scores + rows * kKeyBlock;  // [rows][64] codes
    weight_steps = weights + rows * kKeyBlock / 2;
    softmax = weight_steps + padded(rows);
    size = softmax + Softmax::floats(rows, head_dim);
  }
};

inline void attend_ints(const AttentionTile& tile) {
  const std::int64_t head_dim = tile.head_dim, stride = padded(head_dim), pairs = key_pairs(head_dim);
  const std::int64_t rows = tile.tokens * tile.group;
  const IntScratch at(rows, head_dim);
  auto* q = reinterpret_cast<std::int16_t*>(tile.scratch + at.q);
  auto* weights = reinterpret_cast<std::int16_t*>(tile.scratch + at.weights);
  float *q_steps = tile.scratch + at.q_steps, *weight_steps = tile.scratch + at.weight_steps;
  float* scores = tile.scratch + at.scores;
  Softmax softmax(tile, tile.scratch + at.softmax);
  for (std::int64_t r = 0; r < rows; ++r) {
    q_steps[r] = code_row(softmax.query(r), head_dim, splat(tile.scale), key_code(head_dim),
                          [&](std::int64_t i, Vec t) { store_code16(q + r * stride + i, t); });
  }
  const KeyBlocks blocks(tile);
  for (std::int64_t block = blocks.first; block <= blocks.last; ++block) {
    const std::int64_t panels = blocks.panels(block);
    const IntBlock keys = key_block(tile.kv, block, head_dim), values = value_block(tile.kv, block, head_dim);
    pair_product(
        rows, pairs, panels, q, stride, keys.codes, 2 * kKeyPanel,
        pairs * 2 * kKeyPanel, [&](std::int64_t r, std::int64_t p, Ints sum) __attribute__((always_inline)) {
          const Vec steps = load(keys.steps + p * kKeyPanel) * splat(q_steps[r]);
          store(scores + r * kKeyBlock + p * kKeyPanel, to_floats(sum) * steps);
        });
    for (std::int64_t r = 0; r < rows; ++r) {
      float* row = scores + r * kKeyBlock;
      softmax.take(r, block, row, panels);
      Vec weight[kPanels], sizes = splat(0.0f);
      for (std::int64_t p = 0; p < panels; ++p) {
        weight[p] = load(row + p * kKeyPanel) * load(values.steps + p * kKeyPanel);
        sizes = larger_size(sizes, weight[p]);
      }
      const CodeStep step(sizes, kWeightCode);
      weight_steps[r] = step.step;
      for (std::int64_t p = 0; p < panels; ++p) {
        store_code16(weights + r * kKeyBlock + p * kKeyPanel, step.code(weight[p]));
      }
    }
    // Positions after the last one weigh nothing, so whole panels will do.
    pair_product(
        rows, panels * kKeyPanel / 2, stride / kLanes, weights, kKeyBlock, values.codes, 2 * stride,
        2 * kLanes, [&](std::int64_t r, std::int64_t v, Ints sum) __attribute__((always_inline)) {
          float* to = softmax.out(r) + v * kLanes;
          store(to, fma(to_floats(sum), splat(weight_steps[r]), load(to)));
        });
  }
  softmax.finish();
}

}  // namespace
}  // namespace sparing
