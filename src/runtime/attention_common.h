// What attention over any kind of keys and values shares, over simd.h; included by one unit per instruction set.
//
// Online softmax (Milakov and Gimelshein, arXiv:1805.02867) over blocks of 64 positions that start at multiples of 64.
// A masked position contributes an exact zero, so a query's result is the same whether its block was computed alone
// (decoding) or beside later positions (a prompt).
#pragma once
#include "runtime/ops.h"
#include "runtime/simd.h"

namespace sparing {
namespace {

/// Rows and registers of a product's tile of sums.
constexpr std::int64_t kTileRows = 6;
#if defined(__AVX512F__)
constexpr int kWide = 4;  // 6 x 4 accumulators and 4 operands of 32 registers
#else
constexpr int kWide = 1;  // 6 x 2 accumulators and 2 operands of 16
#endif

/// f.operator()<R>(first) for rows first to first + R - 1, R being kTileRows and for the last less.
template <class F>
inline void each_row_tile(std::int64_t rows, F&& f) {
  std::int64_t r = 0;
  for (; r + kTileRows <= rows; r += kTileRows) f.template operator()<kTileRows>(r);
  switch (rows - r) {
    case 1:
      return f.template operator()<1>(r);
    case 2:
      return f.template operator()<2>(r);
    case 3:
      return f.template operator()<3>(r);
    case 4:
      return f.template operator()<4>(r);
    case 5:
      return f.template operator()<5>(r);
    default:
      return;
  }
}

/// The blocks of positions that a tile's queries see.
struct KeyBlocks {
  std::int64_t first, last, newest;
  explicit KeyBlocks(const AttentionTile& tile) : newest(tile.position + tile.tokens - 1) {
    const std::int64_t oldest = tile.window > 0 ? tile.position - tile.window + 1 : 0;
    first = oldest > 0 ? oldest / kKeyBlock : 0;
    last = newest / kKeyBlock;
  }
  std::int64_t positions(std::int64_t block) const {
    const std::int64_t n = newest + 1 - block * kKeyBlock;
    return n < kKeyBlock ? n : kKeyBlock;
  }
  std::int64_t panels(std::int64_t block) const { return (positions(block) + kKeyPanel - 1) / kKeyPanel; }
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

/// A tile's sums of weighted values, block after block. Row r is head r % group of token r / group.
class Softmax {
 public:
  static std::int64_t floats(std::int64_t rows, std::int64_t head_dim) {
    return rows * padded(head_dim) + rows * kLanes + padded(rows);
  }
  Softmax(const AttentionTile& tile, float* scratch) : tile_(tile), out_(scratch) {
    sums_ = out_ + rows() * stride();
    highest_ = sums_ + rows() * kLanes;
    for (std::int64_t i = 0; i < rows() * (stride() + kLanes); i += kLanes) store(out_ + i, splat(0.0f));
    for (std::int64_t r = 0; r < rows(); ++r) {
      highest_[r] = -1e30f;  // finite, so that a block in which nothing is visible changes nothing
    }
  }
  std::int64_t rows() const { return std::int64_t{tile_.tokens} * tile_.group; }
  std::int64_t stride() const { return padded(tile_.head_dim); }
  /// head_dim numbers.
  const float* query(std::int64_t r) const {
    return tile_.q + r / tile_.group * tile_.q_stride + r % tile_.group * tile_.head_dim;
  }
  /// To be added to, stride() numbers.
  float* out(std::int64_t r) const { return out_ + r * stride(); }
  /// Scores of a block to weights.
  void take(std::int64_t r, std::int64_t block, float* scores, std::int64_t panels) {
    const std::int64_t at = tile_.position + r / tile_.group - block * kKeyBlock;
    soften_row(scores, panels, tile_.window > 0 ? at - tile_.window + 1 : 0, at + 1, highest_[r], sums_ + r * kLanes,
               out(r), stride());
  }
  void finish() const {
    for (std::int64_t r = 0; r < rows(); ++r) {
      float* to = tile_.out + r / tile_.group * tile_.out_stride + r % tile_.group * tile_.head_dim;
      const Vec total = splat(sum_of(load(sums_ + r * kLanes)));
      for (std::int64_t i = 0; i < tile_.head_dim; i += kLanes) {
        const std::int64_t n = tile_.head_dim - i < kLanes ? tile_.head_dim - i : kLanes;
        store(to + i, load(out(r) + i) / total, n);
      }
    }
  }

 private:
  const AttentionTile& tile_;
  float *out_, *sums_, *highest_;
};

}  // namespace
}  // namespace sparing
