#pragma once
#include <string>
#include <vector>

#include "formats/checkpoint.h"

namespace sparing {

/// One layer's matrices together; the embedding and the head are layers of their own.
struct LayerFigures {
  std::string layer;  ///< "embed", "0", "1", ..., "head"
  double bits = 0;    ///< stored, per weight, scales counted
  double damage = 0;  ///< |W - W_ref| / |W_ref| over its matrices; 0 without a reference
};

/// In the model's order. A matrix whose shape is not the reference's (a pruned one) counts for bits alone.
Result<std::vector<LayerFigures>> layer_figures(const Checkpoint& model, const Checkpoint* reference);

}  // namespace sparing
