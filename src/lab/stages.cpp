#include "lab/stages.h"

#include <algorithm>

namespace sparing::lab {
namespace {

void fill_values(const Graph& graph, Stage& stage) {
  const auto count = static_cast<Value>(graph.widths.size());
  const auto reads = [&](Value v, std::size_t from, std::size_t to) {
    for (std::size_t i = from; i < to; ++i)
      if (std::ranges::count(graph.ops[i].inputs, v) > 0) return true;
    return false;
  };
  const auto makes = [&](Value v, std::size_t from, std::size_t to) {
    for (std::size_t i = from; i < to; ++i)
      if (graph.ops[i].output == v) return true;
    return false;
  };
  for (Value v = 0; v < count; ++v) {
    const bool before = v == graph.input || makes(v, 0, stage.first), now = makes(v, stage.first, stage.last);
    const bool later = v == graph.output || reads(v, stage.last, graph.ops.size());
    if (before && reads(v, stage.first, stage.last)) stage.in.push_back(v);
    if (now && later) stage.out.push_back(v);
    if ((before || now) && !later) stage.spent.push_back(v);
  }
}

Value joined_by(const Graph& graph, Value output) {
  for (const Op& op : graph.ops) {
    if (op.kind != OpKind::add) continue;
    if (op.inputs[0] == output) return op.inputs[1];
    if (op.inputs[1] == output) return op.inputs[0];
  }
  return -1;
}

}  // namespace

std::vector<Stage> cut_into_stages(const Graph& graph) {
  std::vector<Stage> stages;
  std::vector<Value> seen;
  std::size_t first = 0;
  for (std::size_t i = 0; i < graph.ops.size(); ++i) {
    const Op& op = graph.ops[i];
    if (op.kind != OpKind::linear || std::ranges::count(seen, op.inputs[0]) > 0) continue;
    seen.push_back(op.inputs[0]);
    Stage stage{.first = first, .last = i, .observed = op.inputs[0]};
    for (const Op& other : graph.ops)
      if (other.kind == OpKind::linear && other.inputs[0] == op.inputs[0])
        stage.readers.push_back({other.site, joined_by(graph, other.output)});
    stages.push_back(std::move(stage));
    first = i;
  }
  stages.push_back({.first = first, .last = graph.ops.size()});
  for (Stage& stage : stages) fill_values(graph, stage);
  return stages;
}

Stage whole_graph(const Graph& graph) {
  Stage stage{.first = 0, .last = graph.ops.size()};
  fill_values(graph, stage);
  return stage;
}

}  // namespace sparing::lab
