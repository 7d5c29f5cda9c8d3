#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>

#include "codecs/int_rows.h"
#include "codecs/transform.h"
#include "codecs/vq_additive.h"
#include "kernels/prepared.h"
#include "kernels/ternary_rows.h"

namespace sparing::kernels {

struct Workspace::Impl {
  Buffer q8, q16, transformed, between;
  std::vector<Buffer> scratch;  // one a worker

  static void grow(Buffer& buffer, std::int64_t bytes) {
    if (buffer.size() < static_cast<std::size_t>(bytes)) buffer = Buffer(static_cast<std::size_t>(bytes));
  }
  static std::int64_t wide_blocks(std::int64_t cols) { return (cols + kWideInputs - 1) / kWideInputs; }
  static std::int64_t tiles(std::int64_t tokens) { return (tokens + kTileTokens - 1) / kTileTokens; }
  void reserve(std::int64_t tokens, std::int64_t cols, int threads, std::int64_t components) {
    grow(q8, tiles(tokens) * ((cols + 31) / 32) * static_cast<std::int64_t>(sizeof(Q8Block)));
    grow(q16, tiles(tokens) * wide_blocks(cols) * static_cast<std::int64_t>(sizeof(Q16Block)));
    grow(transformed, tokens * cols * 4);
    grow(between, tokens * components * 4);
    if (scratch.size() < static_cast<std::size_t>(threads)) scratch.resize(static_cast<std::size_t>(threads));
    for (Buffer& b : scratch) grow(b, scratch_bytes(cols));
  }
};

Workspace::Workspace() : impl_(std::make_unique<Impl>()) {}
Workspace::~Workspace() = default;
Workspace::Workspace(Workspace&&) noexcept = default;
Workspace& Workspace::operator=(Workspace&&) noexcept = default;
void Workspace::reserve(std::int64_t tokens, std::int64_t cols, int threads, std::int64_t components) {
  impl_->reserve(tokens, cols, threads, components);
}

namespace {

constexpr std::int64_t kTokensToShare = 4;  ///< of fewer, quantising takes less time than waking a thread
/// Multiply-adds of inner products up to which one thread does them all: waking the others takes as long.
constexpr std::int64_t kInnerAlone = 1 << 16;
/// The same of panels of int_rows to be added, times tokens.
constexpr std::int64_t kPanelsAlone = 1 << 10;

/// The input as the products of one transform see it.
struct Input {
  const float* x;
  std::int64_t stride, tokens;
  const Q8Block* q8;
  const Q16Block* q16;
  float* z;  ///< [tokens, z_stride]: inner products of all low-rank terms, the products' one after another
  std::int64_t z_stride;
  float* sums;  ///< [tokens, sum_stride]: sums of all int_rows terms, each filled up to whole panels
  std::int64_t sum_stride;
};

bool same_transform(const Transform& a, const Transform& b) {
  return a.kind == b.kind && a.block == b.block && a.blob.bytes.size() == b.blob.bytes.size() &&
         (a.blob.bytes.data() == b.blob.bytes.data() || a.blob.bytes.empty() ||
          std::memcmp(a.blob.bytes.data(), b.blob.bytes.data(), a.blob.bytes.size()) == 0);
}

/// Panels of a matrix [rows, cols] made on the way and multiplied as dense f32: make(panel, rows in it, out, scratch).
template <class Make>
void made_panels(const KernelSet& kernels, std::int64_t rows, std::int64_t cols, const Input& in, const Output& out,
                 std::int64_t begin, std::int64_t end, std::byte* scratch, Make make) {
  std::byte* rest = scratch + (cols + 15) / 16 * 16 * 64;
  for (std::int64_t p = begin; p < end; ++p) {
    const std::int64_t first = p * kPanelRows, count = std::min<std::int64_t>(kPanelRows, rows - first);
    make(p, count, reinterpret_cast<float*>(scratch), rest);
    const Output here{out.y + first, out.stride, out.bias != nullptr ? out.bias + first : nullptr, out.add};
    kernels.dense_panels({DType::f32, count, cols, scratch}, in.x, in.tokens, in.stride, here, 0, 1, rest);
  }
}

void decoded_panels(const KernelSet& kernels, const DecodedWeight& w, const Input& in, const Output& out,
                    std::int64_t begin, std::int64_t end, std::byte* scratch) {
  const std::byte* blob = w.term->blob.bytes.data();
  const auto decode = [&](std::int64_t panel, std::int64_t count, float* values, std::byte*) {
    for (std::int64_t r = 0; r < count; ++r, values += w.cols) {
      const std::int64_t row = panel * kPanelRows + r;
      if (const auto* lut = std::get_if<LutGroupSpec>(&w.term->spec)) {
        decode_lut_group_row(*lut, w.layout, blob, w.cols, row, values);
      } else if (const auto* vq = std::get_if<VqAdditiveSpec>(&w.term->spec)) {
        decode_vq_row(*vq, *layout_of(*vq, w.rows, w.cols), blob, w.cols, row, values);
      } else {
        decode_int_group_row(std::get<IntGroupSpec>(w.term->spec), w.layout, blob, w.cols, row, values);
      }
    }
  };
  made_panels(kernels, w.rows, w.cols, in, out, begin, end, scratch, decode);
}

void sign_panels(const KernelSet& kernels, const SignWeight& w, const Input& in, const Output& out, std::int64_t begin,
                 std::int64_t end, std::byte* scratch) {
  const auto decode = [&](std::int64_t panel, std::int64_t, float* values, std::byte* rest) {
    kernels.sign_panel(w, panel, values, rest);
  };
  made_panels(kernels, w.outer.n, w.inner.n, in, out, begin, end, scratch, decode);
}

/// Panels [begin, end) of a weight's int_rows terms, one term after another, into `sums`.
void run_rows(const Linear::Impl& weight, const Input& in, float* sums, std::int64_t begin, std::int64_t end,
              std::byte* scratch) {
  std::int64_t start = 0;
  for (const auto& term : weight.terms) {
    const auto* some = std::get_if<RowsWeight>(&term);
    if (some == nullptr) continue;
    const IntWeight& w = some->codes;
    const std::int64_t from = std::max(begin, start) - start, to = std::min(end, start + some->panels()) - start;
    const Output out{sums + kPanelRows * start, in.sum_stride, nullptr, false};
    start += some->panels();
    if (from >= to) continue;
    if (weight.needs_q16) {
      weight.kernels->wide_panels(w, in.q16, in.tokens, out, from, to, scratch);
    } else if (weight.needs_q8) {
      weight.kernels->int_panels(w, in.q8, in.tokens, out, from, to, scratch);
    } else {
      const auto decode = [&](std::int64_t panel, std::int64_t count, float* values, std::byte*) {
        for (std::int64_t r = 0; r < count; ++r, values += w.cols)
          decode_int_group_row(w.spec, w.layout, w.blob, w.cols, panel * kPanelRows + r, values);
      };
      made_panels(*weight.kernels, w.rows, w.cols, in, out, from, to, scratch, decode);
    }
  }
}

/// Adds those sums to the product's rows, for tokens [first, last).
void add_rows(const Product& product, const Input& in, const float* sums, std::int64_t first, std::int64_t last) {
  for (const auto& term : product.weight->impl().terms) {
    const auto* some = std::get_if<RowsWeight>(&term);
    if (some == nullptr) continue;
    for (std::int64_t t = first; t < last; ++t) {
      float* const y = product.y + t * product.y_stride;
      const float* const from = sums + t * in.sum_stride;
      for (std::int64_t i = 0; i < some->codes.rows; ++i) y[coded_row(some->index, i)] += from[i];
    }
    sums += kPanelRows * some->panels();
  }
}

/// Inner products of one weight: of its low-rank terms' components [begin, end), for tokens [first, first + count). `z`
/// is where its components start.
void run_inner(const Linear::Impl& weight, const Input& in, float* z, std::int64_t first, std::int64_t count,
               std::int64_t begin, std::int64_t end) {
  std::int64_t start = 0;
  for (const auto& term : weight.terms) {
    const auto* lowrank = std::get_if<LowRankWeight>(&term);
    if (lowrank == nullptr) continue;
    const std::int64_t from = std::max(begin, start), to = std::min(end, start + lowrank->inner.rank);
    if (from < to)
      weight.kernels->factor_inner(lowrank->inner, in.x + first * in.stride, count, in.stride,
                                   z + first * in.z_stride + start, in.z_stride, from - start, to - start);
    start += lowrank->inner.rank;
  }
}

void run_product(const Product& product, const Input& in, const float* z, std::int64_t begin, std::int64_t end,
                 std::byte* scratch) {
  const Linear::Impl& weight = product.weight->impl();
  for (std::size_t i = 0; i < weight.terms.size(); ++i) {
    if (std::holds_alternative<RowsWeight>(weight.terms[i])) continue;
    const Output out{product.y, product.y_stride, i == weight.last_whole ? product.bias : nullptr, i > 0};
    if (const auto* w = std::get_if<IntWeight>(&weight.terms[i])) {
      weight.needs_q16 ? weight.kernels->wide_panels(*w, in.q16, in.tokens, out, begin, end, scratch)
                       : weight.kernels->int_panels(*w, in.q8, in.tokens, out, begin, end, scratch);
    } else if (const auto* dense = std::get_if<DenseWeight>(&weight.terms[i])) {
      weight.kernels->dense_panels(*dense, in.x, in.tokens, in.stride, out, begin, end, scratch);
    } else if (const auto* csr = std::get_if<CsrWeight>(&weight.terms[i])) {
      weight.kernels->csr_panels(*csr, in.x, in.tokens, in.stride, out, begin, end);
    } else if (const auto* lowrank = std::get_if<LowRankWeight>(&weight.terms[i])) {
      weight.kernels->factor_outer(lowrank->outer, z, in.tokens, in.z_stride, out, begin, end);
      z += lowrank->outer.rank;
    } else if (const auto* ternary = std::get_if<TernaryWeight>(&weight.terms[i])) {
      ternary_panels(*ternary, in.x, in.tokens, in.stride, out, begin, end, scratch);
    } else if (const auto* signs = std::get_if<SignWeight>(&weight.terms[i])) {
      sign_panels(*weight.kernels, *signs, in, out, begin, end, scratch);
    } else {
      decoded_panels(*weight.kernels, std::get<DecodedWeight>(weight.terms[i]), in, out, begin, end, scratch);
    }
  }
}

std::int64_t panels_of(const Product& p) {
  return (p.weight->rows() + kPanelRows - 1) / kPanelRows;
}

void turn_row(const KernelSet& kernels, const Transform& t, std::int64_t cols, const float* x, float* out) {
  if (kernels.rotate == nullptr || t.kind != TransformKind::hadamard || t.block < kRotatedBlock)
    return apply_transform(t, cols, x, out);
  kernels.rotate(t.blob.bytes.data(), cols, t.block, 1.0f / std::sqrt(static_cast<float>(t.block)), x, out);
}

/// Products that share a transform: one pass over all their panels.
void run_group(std::span<const Product> products, const std::uint64_t members, const float* x, std::int64_t tokens,
               std::int64_t x_stride, Workspace::Impl& workspace, ThreadPool& pool, const RowMaker& rows) {
  const auto member = [&](std::size_t i) { return ((members >> i) & 1u) != 0; };
  const Product* first = nullptr;
  bool needs_q8 = false, needs_q16 = false;
  std::int64_t panels = 0, components = 0, row_panels = 0;
  for (std::size_t i = 0; i < products.size(); ++i) {
    if (!member(i)) continue;
    if (first == nullptr) first = &products[i];
    needs_q8 |= products[i].weight->impl().needs_q8;
    needs_q16 |= products[i].weight->impl().needs_q16;
    panels += panels_of(products[i]);
    components += products[i].weight->impl().components;
    row_panels += products[i].weight->impl().row_panels;
  }
  const CodedWeight& weight = first->weight->weight();
  const std::int64_t cols = weight.cols, blocks = (cols + 31) / 32, tiles = Workspace::Impl::tiles(tokens);
  Input in{x,
           x_stride,
           tokens,
           reinterpret_cast<const Q8Block*>(workspace.q8.data()),
           reinterpret_cast<const Q16Block*>(workspace.q16.data()),
           reinterpret_cast<float*>(workspace.between.data()),
           components,
           reinterpret_cast<float*>(workspace.between.data()) + tokens * components,
           kPanelRows * row_panels};
  const bool transform = weight.input.kind != TransformKind::identity;
  if (transform) {
    in.x = reinterpret_cast<const float*>(workspace.transformed.data());
    in.stride = cols;
  }
  // A few tokens' inner products are split over components where they are many; a prompt's over the tokens.
  const bool split = tiles == 1 && components * cols * tokens > kInnerAlone;
  const auto inner = [&](std::int64_t first_token, std::int64_t count, std::int64_t begin, std::int64_t end) {
    std::int64_t start = 0;
    for (std::size_t i = 0; i < products.size(); ++i) {
      if (!member(i)) continue;
      run_inner(products[i].weight->impl(), in, in.z + start, first_token, count, begin - start, end - start);
      start += products[i].weight->impl().components;
    }
  };
  if (rows.make != nullptr && tiles == 1) {
    // One token's work is shorter than waking a thread.
    pool.parallel_for(tokens, 2,
                      [&](std::int64_t begin, std::int64_t end, int) { rows.make(rows.context, begin, end); });
  }
  const bool makes = rows.make != nullptr && tiles > 1;
  const auto turn = [&](std::int64_t begin, std::int64_t end) {
    auto* out = reinterpret_cast<float*>(workspace.transformed.data());
    for (std::int64_t t = begin; t < end; ++t)
      turn_row(*first->weight->impl().kernels, weight.input, cols, x + t * x_stride, out + t * cols);
  };
  if (transform || needs_q8 || needs_q16 || makes || (components > 0 && !split)) {
    const auto fill = [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t tile = begin; tile < end; ++tile) {
        if (makes) rows.make(rows.context, tile * kTileTokens, std::min(tokens, (tile + 1) * kTileTokens));
        if (transform && tiles > 1) turn(tile * kTileTokens, std::min(tokens, (tile + 1) * kTileTokens));
        if (needs_q8)
          first->weight->impl().kernels->quantise(in.x, tokens, in.stride, cols, tile,
                                                  reinterpret_cast<Q8Block*>(workspace.q8.data()) + tile * blocks);
        if (needs_q16)
          first->weight->impl().kernels->quantise_wide(
              in.x, tokens, in.stride, cols, tile,
              reinterpret_cast<Q16Block*>(workspace.q16.data()) + tile * Workspace::Impl::wide_blocks(cols));
        if (!split)
          inner(tile * kTileTokens, std::min<std::int64_t>(kTileTokens, tokens - tile * kTileTokens), 0, components);
      }
    };
    if (tiles == 1) {
      if (transform) pool.parallel_for(tokens, 2, [&](std::int64_t begin, std::int64_t end, int) { turn(begin, end); });
      // Too few tokens to share out by tiles. Blocks of int8 need nothing of each other, so inputs are shared out.
      if (needs_q8 && !needs_q16 && tokens >= kTokensToShare) {
        pool.parallel_for(blocks, 4, [&](std::int64_t begin, std::int64_t end, int) {
          first->weight->impl().kernels->quantise(in.x + 32 * begin, tokens, in.stride,
                                                  std::min(cols, 32 * end) - 32 * begin, 0,
                                                  reinterpret_cast<Q8Block*>(workspace.q8.data()) + begin);
        });
        if (!split) inner(0, tokens, 0, components);
      } else {
        fill(0, 1, 0);
      }
    } else {
      pool.parallel_for(tiles, 1, fill);
    }
  }
  if (split)
    pool.parallel_for(components, 8, [&](std::int64_t begin, std::int64_t end, int) { inner(0, tokens, begin, end); });
  // Fast kernels take panels in pairs.
  pool.parallel_for(panels + row_panels, tokens > 1 ? 2 : 1, [&](std::int64_t begin, std::int64_t end, int worker) {
    std::byte* scratch = workspace.scratch[static_cast<std::size_t>(worker)].data();
    std::int64_t start = 0;
    const float* z = in.z;
    for (std::size_t i = 0; i < products.size() && start < end; ++i) {
      if (!member(i)) continue;
      const std::int64_t count = panels_of(products[i]);
      const std::int64_t from = std::max(begin, start), to = std::min(end, start + count);
      if (from < to) run_product(products[i], in, z, from - start, to - start, scratch);
      start += count;
      z += products[i].weight->impl().components;
    }
    for (std::size_t i = 0; i < products.size() && start < end; ++i) {
      if (!member(i)) continue;
      const Linear::Impl& of_rows = products[i].weight->impl();
      float* const sums = in.sums + kPanelRows * (start - panels);
      const std::int64_t from = std::max(begin, start), to = std::min(end, start + of_rows.row_panels);
      if (from < to) run_rows(of_rows, in, sums, from - start, to - start, scratch);
      start += of_rows.row_panels;
    }
  });
  if (row_panels == 0) return;
  const auto add = [&](std::int64_t begin, std::int64_t end, int) {
    const float* sums = in.sums;
    for (std::size_t i = 0; i < products.size(); ++i) {
      if (!member(i)) continue;
      add_rows(products[i], in, sums, begin, end);
      sums += kPanelRows * products[i].weight->impl().row_panels;
    }
  };
  if (tokens * row_panels < kPanelsAlone) {
    add(0, tokens, 0);
  } else {
    pool.parallel_for(tokens, 8, add);
  }
}

}  // namespace

void matmul(std::span<const Product> products, const float* x, std::int64_t tokens, std::int64_t x_stride,
            Workspace& workspace, ThreadPool& pool, RowMaker rows) {
  assert(products.size() <= 64);
  if (tokens <= 0 || products.empty()) return;
  std::int64_t components = 0;
  for (const Product& product : products) components += product.weight->components();
  workspace.impl().reserve(tokens, products[0].weight->cols(), pool.size(), components);
  std::uint64_t done = 0;
  for (std::size_t i = 0; i < products.size(); ++i) {
    if (((done >> i) & 1u) != 0) continue;
    std::uint64_t members = 0;
    for (std::size_t j = i; j < products.size(); ++j) {
      assert(products[j].weight->cols() == products[i].weight->cols());
      if (same_transform(products[i].weight->weight().input, products[j].weight->weight().input)) members |= 1ull << j;
    }
    run_group(products, members, x, tokens, x_stride, workspace.impl(), pool, rows);
    rows = {};
    done |= members;
  }
}

}  // namespace sparing::kernels
