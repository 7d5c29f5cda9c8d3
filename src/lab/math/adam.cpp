#include "lab/math/adam.h"

#include <cmath>

namespace sparing::math {

Adam::Adam(std::int64_t size, const AdamOptions& options)
    : options_(options), moments_(static_cast<std::size_t>(2 * size)), size_(size) {}

void Adam::resume(std::int64_t steps) {
  steps_ = steps;
}

void Adam::begin_step() {
  ++steps_;
  const auto t = static_cast<double>(steps_);
  correct_first_ = static_cast<float>(1.0 / (1.0 - std::pow(options_.beta1, t)));
  correct_second_ = static_cast<float>(1.0 / (1.0 - std::pow(options_.beta2, t)));
}

void Adam::step(std::int64_t first, std::span<const float> gradient, double scale, std::span<const float> unit,
                double rate, std::span<float> parameter) {
  float* const m = moments_.data() + first;
  float* const v = m + size_;
  const auto beta1 = static_cast<float>(options_.beta1), beta2 = static_cast<float>(options_.beta2),
             epsilon = static_cast<float>(options_.epsilon), by = static_cast<float>(scale),
             length = static_cast<float>(rate);
  for (std::size_t i = 0; i < gradient.size(); ++i) {
    const float g = by * gradient[i] * unit[i];
    m[i] = beta1 * m[i] + (1 - beta1) * g;
    v[i] = beta2 * v[i] + (1 - beta2) * g * g;
    parameter[i] -= length * unit[i] * (m[i] * correct_first_) / (std::sqrt(v[i] * correct_second_) + epsilon);
  }
}

namespace {

constexpr double kMeanDecay = 0.9, kSquareDecay = 0.95;

}  // namespace

void AdamDirections::begin_step() {
  ++steps_;
  seen_first_ = 1 - std::pow(kMeanDecay, steps_);
  seen_second_ = 1 - std::pow(kSquareDecay, steps_);
}

double AdamDirections::of(std::size_t i, double gradient) {
  mean_[i] = static_cast<float>(kMeanDecay * mean_[i] + (1 - kMeanDecay) * gradient);
  square_[i] = static_cast<float>(kSquareDecay * square_[i] + (1 - kSquareDecay) * gradient * gradient);
  const double move = mean_[i] / seen_first_ / std::sqrt(square_[i] / seen_second_);
  return std::isfinite(move) ? move : 0.0;
}

double relative_norm(std::span<const float> gradient, std::span<const float> unit) {
  double sum = 0;
  for (std::size_t i = 0; i < gradient.size(); ++i) {
    const double g = static_cast<double>(gradient[i]) * static_cast<double>(unit[i]);
    sum += g * g;
  }
  return std::sqrt(sum);
}

}  // namespace sparing::math
