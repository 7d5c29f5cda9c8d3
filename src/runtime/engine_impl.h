#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "runtime/engine.h"
#include "runtime/kv_cache.h"
#include "runtime/ops.h"
#include "runtime/schedule.h"
#include "tensor/arena.h"
#include "tensor/buffer.h"

namespace sparing {

/// Where each token of a pass stands.
struct Row {
  Token token = 0;
  std::int32_t sequence = 0;
  std::int64_t position = 0;
};
/// Rows of a pass that are consecutive positions of one sequence.
struct Run {
  std::int64_t first = 0, count = 0;
};

struct Engine::Impl {
  ModelConfig config;
  EngineOptions options;
  std::int64_t context = 0, batch = 0;
  Schedule schedule;
  const Ops* ops = nullptr;
  std::unique_ptr<ThreadPool> pool;

  std::optional<Arena> weights;                           // huge pages: transcoded there, moved there while decoding
  std::vector<std::size_t> to_move;                       // matrices that lie in the file's map
  std::shared_ptr<const Checkpoint> checkpoint;           // until all have
  std::vector<CodedWeight> lookups;                       // by matrix, where its rows are only looked up
  std::vector<std::unique_ptr<kernels::Linear>> linears;  // by matrix, where it is multiplied
  std::vector<std::vector<float>> vectors;
  std::uint64_t weight_bytes = 0, bytes_per_token = 0;

  KvCache cache;
  std::vector<std::int64_t> lengths;

  Buffer arena, attention_scratch;
  std::int64_t scratch_floats = 0, tile_rows = 0;
  kernels::Workspace workspace;
  std::vector<kernels::Product> products;  // one step's
  std::vector<Row> rows;                   // one pass's
  std::vector<Run> runs;

  std::vector<double> frequencies;
  std::unique_ptr<float[]> cosines, sines;  // [context, frequencies]; filled as far as positions have come
  std::int64_t angles = 0;

  Status load_weights(const Checkpoint& checkpoint);
  Status load_matrix(const Checkpoint& checkpoint, std::size_t index);
  void allocate();
  /// Moves a few more matrices onto huge pages: decoding gets faster while starting stays quick.
  void move_weights();

  Status check(std::span<const Token> tokens) const;
  /// Starts a pass's list of rows; add_run() appends to it.
  void begin_pass();
  void add_run(std::int32_t sequence, std::span<const Token> tokens);
  /// Runs the rows listed; logits of those from `wanted` on go to `logits`.
  void pass(std::int64_t wanted, float* logits);
  void run_steps(std::span<const Step> steps, std::int64_t from, float* logits);
  void run_rows(const Step& step, std::int64_t from);
  void run_row_op(const RowOp& op, std::int64_t row);
  /// `before`: what computes the products' input, or null.
  void run_products(const Step& step, const Step* before, std::int64_t from, float* logits);
  void run_attention(const AttentionOp& op);
  void code_keys(const AttentionOp& op);
  void attend(const AttentionOp& op, const Run& run, std::int64_t first, std::int64_t tokens, std::int32_t head,
              std::int32_t heads, int worker);
  void fill_angles(std::int64_t positions);

  const CodedWeight& matrix(std::int32_t index) const {
    const auto i = static_cast<std::size_t>(index);
    return linears[i] ? linears[i]->weight() : lookups[i];
  }
  float* at(const Slot& slot, std::int64_t row) {
    return reinterpret_cast<float*>(arena.data()) + slot.offset * batch + row * slot.stride;
  }
};

}  // namespace sparing
