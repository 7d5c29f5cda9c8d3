#pragma once
// The original's final hidden states on a text, from which its distributions follow exactly: one product with the head
// and a softmax away, and two thousandths of the size of logits.

#include "lab/pass.h"

namespace sparing::lab {

/// What the head reads after the last norm, [tokens, hidden] f32; a file if the pool says so. `progress` names what is
/// shown. Memory: one block's weights and the stream. Errors: the checkpoint's, memory, an interrupt, states that are
/// not finite.
Result<ActivationMatrix> final_states(const Checkpoint& original, const ModelGraph& model, const CalibrationText& text,
                                      ActivationPool& activations, at::ScalarType products, ThreadPool& pool);

}  // namespace sparing::lab
