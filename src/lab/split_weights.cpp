#include "lab/split_weights.h"

#include <vector>

namespace sparing::lab {

SplitWeights split(const Graph& graph, std::size_t first, std::size_t last, const Weights& weights, ThreadPool& pool) {
  SplitWeights all;
  if (!kernels::has_split_products()) return all;
  std::vector<std::pair<kernels::SplitRows*, at::Tensor>> work;
  for (std::size_t i = first; i < last; ++i) {
    const Op& op = graph.ops[i];
    if (op.kind != OpKind::linear) continue;
    const at::Tensor& weight = weights.at(op.site);
    if (!weight.device().is_cpu() || weight.scalar_type() != at::kFloat) continue;
    work.emplace_back(&all[op.site], weight.contiguous());
  }
  pool.parallel_for(static_cast<std::int64_t>(work.size()), 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) {
      const auto& [to, weight] = work[static_cast<std::size_t>(i)];
      to->set_weights(weight.data_ptr<float>(), weight.size(0), weight.size(1));
    }
  });
  return all;
}

}  // namespace sparing::lab
