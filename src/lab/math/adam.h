#pragma once
// Adam (arXiv:1412.6980) on parameters of very different sizes: each has a unit, and gradients, moments and rates are
// relative to it.

#include <cstdint>
#include <span>
#include <vector>

namespace sparing::math {

struct AdamOptions {
  double beta1 = 0.9, beta2 = 0.99, epsilon = 1e-12;
};

class Adam {
 public:
  Adam(std::int64_t size, const AdamOptions& options);

  /// Begins a step: moments are corrected for how many there have been.
  void begin_step();
  /// parameter[i] -= rate * unit[i] * m / (sqrt(v) + epsilon) for parameters from `first` on, m and v the
  /// corrected moments of scale * gradient[i] * unit[i]. All spans start at `first` and have one length. Different
  /// ranges may be stepped at once, each once a step.
  void step(std::int64_t first, std::span<const float> gradient, double scale, std::span<const float> unit, double rate,
            std::span<float> parameter);

  /// For keeping and resuming.
  std::vector<float>& moments() { return moments_; }  ///< m of all, then v of all
  std::int64_t steps() const { return steps_; }
  void resume(std::int64_t steps);

 private:
  AdamOptions options_;
  std::vector<float> moments_;
  std::int64_t size_, steps_ = 0;
  float correct_first_ = 1, correct_second_ = 1;
};

/// Adam's directions, for parameters whose steps are the caller's own affair.
class AdamDirections {
 public:
  explicit AdamDirections(std::size_t size) : mean_(size), square_(size) {}
  /// Begins a step: moments are corrected for how many there have been.
  void begin_step();
  /// m / sqrt(v) of parameter i, whatever the gradients' own size; once a step. 0 where that is no number (all
  /// gradients were 0).
  double of(std::size_t i, double gradient);

 private:
  std::vector<float> mean_, square_;
  double steps_ = 0, seen_first_ = 0, seen_second_ = 0;
};

/// Root of the sum of squares of gradient[i] * unit[i]; in f64.
double relative_norm(std::span<const float> gradient, std::span<const float> unit);

}  // namespace sparing::math
