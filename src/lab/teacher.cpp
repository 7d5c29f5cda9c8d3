#include "lab/teacher.h"

#include <cmath>

#include "base/progress.h"

namespace sparing::lab {
namespace {

/// Matrices in another dtype than norms and biases.
Result<Weights> load(const Checkpoint& original, const Graph& graph, const Stage& stage, at::ScalarType products,
                     at::Device device) {
  SPARING_TRY(Weights weights,
              load_weights(original, graph, stage.first, stage.last, at::TensorOptions(at::kFloat).device(device)));
  for (auto& [name, value] : weights)
    if (value.dim() == 2) value = value.to(products);
  return weights;
}

}  // namespace

Result<ActivationMatrix> final_states(const Checkpoint& original, const ModelGraph& model, const CalibrationText& text,
                                      ActivationPool& activations, at::ScalarType products, ThreadPool& pool) {
  Pass pass(text, activations, pool);
  {
    SPARING_TRY(const CodedWeight table, original.weight("embed"));
    SPARING_CHECK_OK(pass.embed(table, model.config.hidden));
    original.forget("embed");
  }
  Progress progress("reading the original", static_cast<std::int64_t>(model.blocks.size()), "block");
  for (const Graph& block : model.blocks) {
    const Stage whole = whole_graph(block);
    SPARING_TRY(const Weights weights, load(original, block, whole, products, text.device));
    pass.enter(block);
    SPARING_CHECK_OK(pass.advance(block, whole, weights));
    pass.leave(block);
    progress.advance();
  }
  progress.finish();
  const Stage before_head = cut_into_stages(model.head).front();
  SPARING_TRY(const Weights norm, load(original, model.head, before_head, products, text.device));
  pass.enter(model.head);
  SPARING_CHECK_OK(pass.advance(model.head, before_head, norm));
  ActivationMatrix states = pass.take(before_head.observed);
  for (std::int64_t t = 0; t < states.rows(); ++t) {
    double sum = 0;
    for (std::int64_t i = 0; i < states.width(); ++i) sum += static_cast<double>(states.row(t)[i]);
    if (!std::isfinite(sum))
      return input_error(
          "[heal] the original's activations are not finite on this text: check it with `sparing verify`");
  }
  return states;
}

}  // namespace sparing::lab
