#include "eval/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "base/rng.h"

namespace sparing {

Estimate mean_of(std::span<const double> values) {
  Estimate estimate;
  if (values.empty()) return estimate;
  const auto n = static_cast<double>(values.size());
  for (const double v : values) estimate.value += v;
  estimate.value /= n;
  if (values.size() < 2) return estimate;
  double squares = 0;
  for (const double v : values) squares += (v - estimate.value) * (v - estimate.value);
  estimate.error = std::sqrt(squares / n / (n - 1));
  return estimate;
}

PairedTest paired_test(std::span<const double> a, std::span<const double> b) {
  std::vector<double> differences(a.size());
  for (std::size_t i = 0; i < a.size(); ++i) differences[i] = a[i] - b[i];
  PairedTest test;
  test.difference = mean_of(differences);
  if (a.empty()) return test;
  double sum = 0;
  for (const double d : differences) sum += d;
  // A rounding error must not part a combination from its mirror image.
  const double observed = std::abs(sum) * (1 - 1e-12);
  constexpr std::size_t kMostExact = 16;
  constexpr std::uint64_t kRandom = 20000;
  const bool exact = a.size() <= kMostExact;
  const std::uint64_t rounds = exact ? std::uint64_t{1} << a.size() : kRandom;
  Rng rng(0);
  std::uint64_t as_far = 0;
  for (std::uint64_t round = 0; round < rounds; ++round) {
    double flipped = 0;
    std::uint64_t signs = round;
    for (std::size_t i = 0; i < differences.size(); ++i) {
      if (!exact && i % 64 == 0) signs = rng.next();
      flipped += (signs >> (i % 64) & 1) != 0 ? differences[i] : -differences[i];
    }
    as_far += std::abs(flipped) >= observed;
  }
  // The signs that were observed are one of the random ones too.
  test.p_value = exact ? static_cast<double>(as_far) / static_cast<double>(rounds)
                       : static_cast<double>(as_far + 1) / static_cast<double>(rounds + 1);
  return test;
}

double quantile(std::span<const double> sorted, double fraction) {
  const double at = fraction * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  if (below + 1 >= sorted.size()) return sorted.back();
  const double part = at - static_cast<double>(below);
  return sorted[below] + part * (sorted[below + 1] - sorted[below]);
}

}  // namespace sparing
