#include "runtime/schedule.h"

#include <algorithm>

#include "base/checked.h"

namespace sparing {
namespace {

/// The graphs one after another, with values numbered through.
struct Flat {
  std::vector<std::int32_t> widths;
  std::vector<Op> ops;
  Value output = -1;

  void append(const Graph& graph) {
    const auto base = static_cast<Value>(widths.size());
    std::vector<Value> renamed(graph.widths.size());
    for (std::size_t i = 0; i < graph.widths.size(); ++i) renamed[i] = base + static_cast<Value>(i);
    if (graph.input >= 0) renamed[static_cast<std::size_t>(graph.input)] = output;
    widths.insert(widths.end(), graph.widths.begin(), graph.widths.end());
    for (Op op : graph.ops) {
      for (Value& v : op.inputs) v = renamed[static_cast<std::size_t>(v)];
      op.output = renamed[static_cast<std::size_t>(op.output)];
      ops.push_back(std::move(op));
    }
    output = renamed[static_cast<std::size_t>(graph.output)];
  }
};

/// Floats from one row to the next: whole cache lines. Products write the same columns of many rows, which in rows a
/// multiple of a large power of two apart are the same few sets of the cache.
std::int64_t stride_of(std::int64_t width) {
  const std::uint64_t lines = ceil_div(static_cast<std::uint64_t>(width), 16);
  return static_cast<std::int64_t>(lines % 8 == 0 ? lines + 1 : lines) * 16;
}

/// First fit in the floats of one token.
class Places {
 public:
  Slot take(std::int64_t width) {
    const std::int64_t size = stride_of(width);
    std::int64_t at = 0;
    auto it = used_.begin();
    for (; it != used_.end() && it->offset < at + size; ++it) at = it->offset + it->stride;
    used_.insert(it, {at, width, size});
    highest_ = std::max(highest_, at + size);
    return {at, width, size};
  }
  void free(const Slot& slot) {
    std::erase_if(used_, [&](const Slot& s) { return s.offset == slot.offset; });
  }
  std::int64_t highest() const { return highest_; }

 private:
  std::vector<Slot> used_;  // by offset
  std::int64_t highest_ = 0;
};

class Compiler {
 public:
  explicit Compiler(const ModelGraph& model) : vocab_(model.config.vocab) {
    flat_.append(model.embed);
    for (const Graph& block : model.blocks) flat_.append(block);
    flat_.append(model.head);
    slots_.resize(flat_.widths.size());
    last_use_.assign(flat_.widths.size(), -1);
    for (std::size_t i = 0; i < flat_.ops.size(); ++i) {
      for (const Value v : flat_.ops[i].inputs) last_use_[index(v)] = static_cast<std::ptrdiff_t>(i);
      if (flat_.ops[i].kind == OpKind::attention) last_attention_ = static_cast<std::ptrdiff_t>(i);
    }
  }

  Result<Schedule> run() {
    for (std::size_t i = 0; i < flat_.ops.size(); ++i) {
      now_ = static_cast<std::ptrdiff_t>(i);
      emit(flat_.ops[i]);
      if (now_ == last_attention_) split_ = steps_.size();
    }
    Schedule& schedule = schedule_;
    schedule.body.assign(steps_.begin(), steps_.begin() + static_cast<std::ptrdiff_t>(split_));
    schedule.tail.assign(steps_.begin() + static_cast<std::ptrdiff_t>(split_), steps_.end());
    schedule.floats_per_token = places_.highest();
    schedule.widest_input = widest_;
    return std::move(schedule);
  }

 private:
  static std::size_t index(Value v) { return static_cast<std::size_t>(v); }
  Slot& slot(Value v) { return slots_[index(v)]; }
  bool dies(Value v) const { return last_use_[index(v)] == now_; }

  void place(Value v) { slot(v) = places_.take(flat_.widths[index(v)]); }
  /// Gives the output the place of an input that is not needed again.
  void place_over(const Op& op) {
    for (const Value v : op.inputs) {
      if (dies(v) && flat_.widths[index(v)] == flat_.widths[index(op.output)]) {
        slot(op.output) = slot(v);
        taken_over_ = v;
        return;
      }
    }
    place(op.output);
  }
  /// Within a step rows are worked on at different times, and rows of values of different widths lie at different
  /// places: what is freed may be taken again only in the next step.
  void release(const Op& op) {
    for (const Value v : op.inputs) {
      if (dies(v) && v != taken_over_) freed_.push_back(slot(v));
    }
    taken_over_ = -1;
  }

  Step& step(Step::Kind kind) {
    if (steps_.empty() || steps_.back().kind != kind || kind != Step::Kind::rows) {
      for (const Slot& slot : freed_) places_.free(slot);
      freed_.clear();
      steps_.push_back({.kind = kind});
    }
    return steps_.back();
  }
  RowOp& row_op(RowOp::Kind kind) {
    auto& rows = steps_.back().rows;
    rows.push_back({.kind = kind});
    return rows.back();
  }

  void emit(const Op& op) {
    if (op.kind != OpKind::linear) step(Step::Kind::rows);
    switch (op.kind) {
      case OpKind::embed: {
        place(op.output);
        RowOp& row = row_op(RowOp::Kind::embed);
        row.out = slot(op.output);
        row.weight = matrix(op.site, vocab_, row.out.width, false, nullptr);
        break;
      }
      case OpKind::rms_norm: {
        const Slot in = slot(op.inputs[0]);
        place_over(op);
        RowOp& row = row_op(RowOp::Kind::rms_norm);
        row.a = in;
        row.out = slot(op.output);
        row.weight = vector(op.site, op.span);
        row.span = op.span;
        break;
      }
      case OpKind::rope: {
        const Slot in = slot(op.inputs[0]);
        place_over(op);
        RowOp& row = row_op(RowOp::Kind::rope);
        row.a = in;
        row.out = slot(op.output);
        row.heads = op.heads;
        break;
      }
      case OpKind::swiglu:
      case OpKind::add: {
        const Slot a = slot(op.inputs[0]), b = slot(op.inputs[1]);
        place_over(op);
        RowOp& row = row_op(op.kind == OpKind::add ? RowOp::Kind::add : RowOp::Kind::swiglu);
        row.a = a;
        row.b = b;
        row.out = slot(op.output);
        break;
      }
      case OpKind::linear:
        emit_linear(op);
        break;
      case OpKind::attention: {
        RowOp& store = row_op(RowOp::Kind::store_kv);
        store.a = slot(op.inputs[1]);
        store.b = slot(op.inputs[2]);
        store.layer = op.layer;
        store.heads = op.kv_heads;
        Step& attend = step(Step::Kind::attention);
        place(op.output);
        attend.attention = {.q = slot(op.inputs[0]),
                            .out = slot(op.output),
                            .layer = op.layer,
                            .heads = op.heads,
                            .kv_heads = op.kv_heads,
                            .window = op.window};
        break;
      }
    }
    release(op);
  }

  void emit_linear(const Op& op) {
    const Slot in = slot(op.inputs[0]);
    const bool logits = op.output == flat_.output;
    // A product joins the one before it where both read the same value.
    const bool joins = now_ > 0 && flat_.ops[static_cast<std::size_t>(now_) - 1].kind == OpKind::linear &&
                       flat_.ops[static_cast<std::size_t>(now_) - 1].inputs == op.inputs;
    Step& target = joins ? steps_.back() : step(Step::Kind::products);
    target.input = in;
    if (!logits) place(op.output);
    const std::int32_t rows = flat_.widths[index(op.output)];
    target.products.push_back({.weight = matrix(op.site, rows, in.width, true, &op),
                               .bias = op.bias.empty() ? -1 : vector(op.bias, rows),
                               .out = slot(op.output),
                               .logits = logits});
    widest_ = std::max(widest_, in.width);
  }

  std::int32_t matrix(const std::string& name, std::int64_t rows, std::int64_t cols, bool multiplied,
                      const Op* product) {
    auto& all = schedule_.matrices;
    auto it = std::ranges::find(all, name, &NeededMatrix::name);
    if (it == all.end()) it = all.insert(all.end(), {.name = name, .rows = rows, .cols = cols});
    it->rows = std::max(it->rows, rows);
    it->multiplied |= multiplied;
    if (product != nullptr) {
      it->activation_bits = std::max(it->activation_bits, product->activation_bits);
      it->activation_bits_few = std::max(it->activation_bits_few, product->activation_bits_few);
    }
    return static_cast<std::int32_t>(it - all.begin());
  }
  std::int32_t vector(const std::string& name, std::int64_t size) {
    schedule_.vectors.push_back({.name = name, .size = size});
    return static_cast<std::int32_t>(schedule_.vectors.size()) - 1;
  }

  Schedule schedule_;
  std::int64_t vocab_;
  Flat flat_;
  std::vector<Slot> slots_;
  std::vector<std::ptrdiff_t> last_use_;
  Places places_;
  std::vector<Slot> freed_;
  std::vector<Step> steps_;
  std::ptrdiff_t now_ = 0, last_attention_ = -1;
  std::size_t split_ = 0;
  Value taken_over_ = -1;
  std::int64_t widest_ = 0;
};

}  // namespace

Result<Schedule> compile(const ModelGraph& model) {
  if (model.blocks.empty()) return input_error("[load] model has no layers: nothing to run");
  return Compiler(model).run();
}

}  // namespace sparing
