#pragma once
// A model's graph compiled for the runtime: matrix products over one input joined, the element-wise work between them
// joined into passes over rows, attention, and a place in the arena for every value.

#include <cstdint>
#include <string>
#include <vector>

#include "models/graph.h"

namespace sparing {

/// A value's place: `offset` floats per token into the arena (times the tokens the arena is for), rows `stride` apart.
struct Slot {
  std::int64_t offset = 0, width = 0, stride = 0;
};

struct RowOp {
  enum class Kind : std::uint8_t { embed, rms_norm, rope, swiglu, add, store_kv };
  Kind kind = Kind::add;
  Slot a = {}, b = {}, out = {};  ///< store_kv: a is the key, b the value
  std::int32_t weight = -1;       ///< embed: into Schedule::matrices; rms_norm: into Schedule::vectors
  std::int32_t layer = -1, heads = 0, span = 0;
};

struct ProductOp {
  std::int32_t weight = -1;  ///< into Schedule::matrices
  std::int32_t bias = -1;    ///< into Schedule::vectors; -1: none
  Slot out = {};
  bool logits = false;  ///< goes to the caller's memory, not to `out`
};

struct AttentionOp {
  Slot q, out;
  std::int32_t layer = -1, heads = 0, kv_heads = 0, window = 0;
};

/// One of: operations on each row in turn, products of one input, attention.
struct Step {
  enum class Kind : std::uint8_t { rows, products, attention };
  Kind kind = Kind::rows;
  std::vector<RowOp> rows = {};
  Slot input = {};
  std::vector<ProductOp> products = {};
  AttentionOp attention = {};
};

struct NeededMatrix {
  std::string name;
  std::int64_t rows = 0, cols = 0;
  bool multiplied = false;                                    ///< by products; otherwise its rows are only looked up
  std::int32_t activation_bits = 8, activation_bits_few = 8;  ///< of the products, as in Op
};
struct NeededVector {
  std::string name;
  std::int64_t size = 0;
};

struct Schedule {
  std::vector<NeededMatrix> matrices;
  std::vector<NeededVector> vectors;
  std::vector<Step> body;             ///< for all tokens: everything that later tokens may depend on
  std::vector<Step> tail;             ///< after the last attention: only for tokens whose logits are wanted
  std::int64_t floats_per_token = 0;  ///< size of the arena
  std::int64_t widest_input = 0;      ///< of the products
};

Result<Schedule> compile(const ModelGraph& model);

}  // namespace sparing
