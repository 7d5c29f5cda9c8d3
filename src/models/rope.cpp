#include <cmath>
#include <numbers>

#include "models/graph.h"

namespace sparing {
namespace {

// Llama 3.1: low frequencies are slowed by `factor`, high ones kept, those between interpolated.
double scale_llama3(double frequency, const RopeConfig& rope) {
  const double turns = rope.original_context * frequency / (2 * std::numbers::pi);  // within the original context
  if (turns < rope.low_frequency_factor) return frequency / rope.factor;
  if (turns > rope.high_frequency_factor) return frequency;
  const double keep = (turns - rope.low_frequency_factor) / (rope.high_frequency_factor - rope.low_frequency_factor);
  return (1 - keep) * frequency / rope.factor + keep * frequency;
}

}  // namespace

std::vector<double> rope_frequencies(const RopeConfig& rope) {
  std::vector<double> frequencies(static_cast<std::size_t>(rope.dimension / 2));
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    double f = std::pow(rope.theta, -2.0 * static_cast<double>(i) / rope.dimension);
    switch (rope.scaling) {
      case RopeConfig::Scaling::none:
        break;
      case RopeConfig::Scaling::linear:
        f /= rope.factor;
        break;
      case RopeConfig::Scaling::llama3:
        f = scale_llama3(f, rope);
        break;
    }
    if (i < rope.divisors.size()) f /= static_cast<double>(rope.divisors[i]);
    frequencies[i] = f;
  }
  return frequencies;
}

}  // namespace sparing
