#pragma once
// Sums over the tokens of a calibration text: in f32, batch by batch, on the text's device.

#include <vector>

#include "base/thread_pool.h"
#include "lab/pass.h"

namespace sparing::lab {

/// X'X [width, width] of activations X [tokens, width].
std::vector<float> second_moment(const CalibrationText& text, const ActivationMatrix& x, ThreadPool& pool);

/// (A - B)'X [width of A and B, width of X].
std::vector<float> damage_by_input(const CalibrationText& text, const ActivationMatrix& a, const ActivationMatrix& b,
                                   const ActivationMatrix& x, ThreadPool& pool);

}  // namespace sparing::lab
