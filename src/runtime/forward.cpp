// One pass over a batch of tokens: the schedule's steps in order. Nothing here allocates.
#include <algorithm>
#include <bit>
#include <cmath>

#include "runtime/engine_impl.h"

namespace sparing {
namespace {

constexpr std::size_t kDecodeRows = 16;  // passes of at most so many rows are bound by memory

}  // namespace

void Engine::Impl::fill_angles(std::int64_t positions) {
  const std::size_t half = frequencies.size();
  for (; angles < positions; ++angles) {
    const std::size_t row = static_cast<std::size_t>(angles) * half;
    for (std::size_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(angles) * frequencies[i];
      cosines[row + i] = static_cast<float>(std::cos(angle));
      sines[row + i] = static_cast<float>(std::sin(angle));
    }
  }
}

void Engine::Impl::begin_pass() {
  rows.clear();
  runs.clear();
}

void Engine::Impl::add_run(std::int32_t sequence, std::span<const Token> tokens) {
  std::int64_t& length = lengths[static_cast<std::size_t>(sequence)];
  const auto count = static_cast<std::int64_t>(tokens.size());
  cache.begin(sequence, length, count);
  runs.push_back({.first = static_cast<std::int64_t>(rows.size()), .count = count});
  for (const Token token : tokens) rows.push_back({.token = token, .sequence = sequence, .position = length++});
}

void Engine::Impl::pass(std::int64_t wanted, float* logits) {
  std::int64_t positions = 0;
  for (const Row& row : rows) positions = std::max(positions, row.position + 1);
  fill_angles(positions);
  run_steps(schedule.body, 0, nullptr);
  if (wanted < static_cast<std::int64_t>(rows.size())) run_steps(schedule.tail, wanted, logits);
  // Prompts are bound by arithmetic: only what decodes gains.
  if (rows.size() <= kDecodeRows && !to_move.empty()) move_weights();
}

void Engine::Impl::run_steps(std::span<const Step> steps, std::int64_t from, float* logits) {
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const Step& step = steps[i];
    switch (step.kind) {
      case Step::Kind::rows:
        // Products that follow take their input while it is in cache.
        if (i + 1 == steps.size() || steps[i + 1].kind != Step::Kind::products) run_rows(step, from);
        break;
      case Step::Kind::products:
        run_products(step, i > 0 && steps[i - 1].kind == Step::Kind::rows ? &steps[i - 1] : nullptr, from, logits);
        break;
      case Step::Kind::attention:
        run_attention(step.attention);
        break;
    }
  }
}

void Engine::Impl::run_rows(const Step& step, std::int64_t from) {
  const std::int64_t count = static_cast<std::int64_t>(rows.size()) - from;
  if (step.rows.back().kind == RowOp::Kind::store_kv) {
    for (const Run& run : runs) cache.stage(step.rows.back().layer, rows[static_cast<std::size_t>(run.first)].sequence);
  }
  // One token's work is shorter than waking a thread.
  pool->parallel_for(count, 2, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = from + begin; row < from + end; ++row) {
      for (const RowOp& op : step.rows) run_row_op(op, row);
    }
  });
}

void Engine::Impl::run_row_op(const RowOp& op, std::int64_t row) {
  const Row& info = rows[static_cast<std::size_t>(row)];
  const std::int64_t head_dim = config.head_dim;
  switch (op.kind) {
    case RowOp::Kind::embed: {
      const CodedWeight& table = matrix(op.weight);
      if (table.input.kind == TransformKind::identity) {
        decode_rows(table, info.token, 1, at(op.out, row));
      } else {
        decode_effective_rows(table, info.token, 1, at(op.out, row));
      }
      break;
    }
    case RowOp::Kind::rms_norm:
      ops->rms_norm(at(op.a, row), vectors[static_cast<std::size_t>(op.weight)].data(), at(op.out, row), op.out.width,
                    op.span, config.rms_eps);
      break;
    case RowOp::Kind::rope: {
      const auto half = static_cast<std::int64_t>(frequencies.size());
      ops->rope(at(op.a, row), at(op.out, row), op.heads, head_dim, config.rope.dimension,
                cosines.get() + info.position * half, sines.get() + info.position * half);
      break;
    }
    case RowOp::Kind::swiglu:
      ops->swiglu(at(op.a, row), at(op.b, row), at(op.out, row), op.out.width);
      break;
    case RowOp::Kind::add:
      ops->add(at(op.a, row), at(op.b, row), at(op.out, row), op.out.width);
      break;
    case RowOp::Kind::store_kv:
      for (std::int32_t h = 0; h < op.heads; ++h) {
        ops->store_kv(cache.head(op.layer, info.sequence, h, info.position), at(op.a, row) + h * head_dim,
                      at(op.b, row) + h * head_dim, info.position, head_dim);
      }
      break;
  }
}

void Engine::Impl::run_products(const Step& step, const Step* before, std::int64_t from, float* logits) {
  for (std::size_t i = 0; i < step.products.size(); ++i) {
    const ProductOp& op = step.products[i];
    products[i] = {.weight = linears[static_cast<std::size_t>(op.weight)].get(),
                   .y = op.logits ? logits : at(op.out, from),
                   .y_stride = op.logits ? config.vocab : op.out.stride,
                   .bias = op.bias < 0 ? nullptr : vectors[static_cast<std::size_t>(op.bias)].data()};
  }
  const auto make = [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t row = from + first; row < from + last; ++row) {
      for (const RowOp& op : before->rows) run_row_op(op, row);
    }
  };
  kernels::RowMaker maker;
  if (before != nullptr) {
    maker = {[](void* f, std::int64_t first, std::int64_t last) { (*static_cast<decltype(make)*>(f))(first, last); },
             const_cast<void*>(static_cast<const void*>(&make))};
  }
  kernels::matmul({products.data(), step.products.size()}, at(step.input, from),
                  static_cast<std::int64_t>(rows.size()) - from, step.input.stride, workspace, *pool, maker);
}

void Engine::Impl::attend(const AttentionOp& op, const Run& run, std::int64_t first, std::int64_t tokens,
                          std::int32_t head, std::int32_t heads, int worker) {
  const std::int64_t row = run.first + first;
  const Row& info = rows[static_cast<std::size_t>(row)];
  ops->attend({.q = at(op.q, row) + head * config.head_dim,
               .out = at(op.out, row) + head * config.head_dim,
               .q_stride = op.q.stride,
               .out_stride = op.out.stride,
               .position = info.position,
               .tokens = static_cast<std::int32_t>(tokens),
               .group = heads,
               .head_dim = config.head_dim,
               .window = op.window,
               .scale = 1.0f / std::sqrt(static_cast<float>(config.head_dim)),
               .kv = cache.head(op.layer, info.sequence, head / (op.heads / op.kv_heads), info.position),
               .scratch = reinterpret_cast<float*>(attention_scratch.data()) + worker * scratch_floats});
}

void Engine::Impl::run_attention(const AttentionOp& op) {
  const std::int32_t group = op.heads / op.kv_heads;
  if (cache.coded()) code_keys(op);
  if (runs.size() == rows.size()) {
    // Single tokens: any number of heads to a worker, those of one KV head together.
    pool->parallel_for(
        static_cast<std::int64_t>(runs.size()) * op.heads, 1, [&](std::int64_t begin, std::int64_t end, int worker) {
          while (begin < end) {
            const auto head = static_cast<std::int32_t>(begin % op.heads);
            const auto count = static_cast<std::int32_t>(std::min<std::int64_t>(end - begin, group - head % group));
            attend(op, runs[static_cast<std::size_t>(begin / op.heads)], 0, 1, head, count, worker);
            begin += count;
          }
        });
    return;
  }
  // Tiles begin at multiples of a power of two up to the key block, so none lies across two blocks.
  const auto tokens = static_cast<std::int64_t>(
      std::bit_floor(static_cast<std::uint64_t>(std::clamp<std::int64_t>(tile_rows / group, 1, kKeyBlock))));
  for (const Run& run : runs) {
    const std::int64_t position = rows[static_cast<std::size_t>(run.first)].position, before = position % tokens;
    const std::int64_t tiles = (before + run.count + tokens - 1) / tokens;
    pool->parallel_for(tiles * op.kv_heads, 1, [&](std::int64_t begin, std::int64_t end, int worker) {
      for (std::int64_t i = begin; i < end; ++i) {
        // Later tiles see more keys: taking them alternately from both ends gives each worker the same work.
        const std::int64_t turn = i % tiles, tile = turn % 2 == 0 ? turn / 2 : tiles - 1 - turn / 2;
        const std::int64_t first = std::max<std::int64_t>(0, tile * tokens - before);
        const std::int64_t last = std::min((tile + 1) * tokens - before, run.count);
        attend(op, run, first, last - first, static_cast<std::int32_t>(i / tiles) * group, group, worker);
      }
    });
  }
}

/// Blocks that this pass has filled: later blocks' queries see them coded.
void Engine::Impl::code_keys(const AttentionOp& op) {
  for (const Run& run : runs) {
    const Row& info = rows[static_cast<std::size_t>(run.first)];
    const std::int64_t first = info.position / kKeyBlock, end = (info.position + run.count) / kKeyBlock;
    pool->parallel_for((end - first) * op.kv_heads, 1, [&](std::int64_t from, std::int64_t to, int) {
      for (std::int64_t i = from; i < to; ++i) {
        const std::int64_t block = first + i / op.kv_heads;
        const auto head = static_cast<std::int32_t>(i % op.kv_heads);
        ops->code_keys(cache.head(op.layer, info.sequence, head, block * kKeyBlock), block, config.head_dim);
      }
    });
  }
}

}  // namespace sparing
