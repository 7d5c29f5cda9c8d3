#pragma once
// How much a model's predictions depend on each output of each linear layer: the diagonal of the Fisher information of
// the outputs, from a few backward passes. Torch-free to include.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "formats/checkpoint.h"
#include "lab/calibrate.h"
#include "text/tokenizer.h"

namespace sparing {

/// Means over tokens of the squared derivative, by one value, of the log-probability of a next token that the model
/// itself samples (summed over the sequence). A perturbation with mean squares d_r of a site's outputs then costs about
/// 1/2 sum_r outputs[site][r] d_r of KL a token: exact to second order where the perturbations of different outputs and
/// tokens are uncorrelated.
struct Sensitivity {
  std::map<std::string, std::vector<float>> outputs;  ///< [rows] by linear site; a head that is tied: by "embed"
  std::vector<float> embedding;                       ///< [hidden]: by the stream into the first block
  /// [tokens] by linear site, sequence after sequence: the sum over its outputs instead of the mean over tokens.
  std::map<std::string, std::vector<float>> by_token;
  std::int64_t tokens = 0;
};

/// Runs the original model over the sequences, forwards and back, block by block: one block's weights and the streams
/// between blocks of about 4,096 tokens are in memory (the streams spill, as calibration's activations do). The same
/// bits for any number of threads. Errors: no sequences, tokens out of range, an interrupt, memory.
Result<Sensitivity> measure_sensitivity(const Checkpoint& checkpoint, const std::vector<std::vector<Token>>& sequences,
                                        std::uint64_t seed, const CalibrationOptions& options);

}  // namespace sparing
