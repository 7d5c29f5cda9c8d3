#pragma once
// Sums over the tokens of a calibration text: in f32, batch by batch, on the text's device.

#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "lab/pass.h"

namespace sparing::lab {

/// X'WX [width, width] of activations X [tokens, width]; W: each token's weight, not negative; empty: 1.
std::vector<float> second_moment(const CalibrationText& text, const ActivationMatrix& x, std::span<const float> weights,
                                 ThreadPool& pool);

/// (A - B)'WX [width of A and B, width of X].
std::vector<float> damage_by_input(const CalibrationText& text, const ActivationMatrix& a, const ActivationMatrix& b,
                                   const ActivationMatrix& x, std::span<const float> weights, ThreadPool& pool);

}  // namespace sparing::lab
