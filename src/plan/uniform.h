#pragma once
// The first solver: one rate for all linear weights and one for embedding and head, the pair with the least measured
// damage among those whose finished directory fits.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace sparing {

/// Bits per weight and inputs per scale.
struct Rate {
  std::int32_t bits = 4, group = 64;
  bool operator==(const Rate&) const = default;
};
/// At least as precise in every respect: what damages no more, as far as anyone knows before measuring.
inline bool covers(const Rate& a, const Rate& b) {
  return a.bits >= b.bits && a.group <= b.group;
}
/// "4 bits, groups of 64".
std::string describe(const Rate& rate);

/// Indices into the two lists of rates.
struct RatePair {
  std::size_t linear = 0, embedding = 0;
};

struct UniformProblem {
  std::vector<Rate> linear, embedding;
  std::uint64_t budget = 0;
  /// Exact bytes of the finished directory. Cheap.
  std::function<Result<std::uint64_t>(RatePair)> bytes;
  /// Measured damage with one of the two coded and the other left as it is, or with both. Dear.
  std::function<Result<double>(std::optional<std::size_t> linear, std::optional<std::size_t> embedding)> damage;
  std::size_t finalists = 3;  ///< pairs that are measured together at the end
};

struct UniformAnswer {
  RatePair pair;
  std::uint64_t bytes = 0;
  double damage = 0;
  std::size_t measurements = 0;
};

/// Errors: nothing fits (the message has the smallest size there is), or what the callbacks return.
Result<UniformAnswer> solve_uniform(const UniformProblem& problem);

}  // namespace sparing
