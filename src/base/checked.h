#pragma once
// Arithmetic on sizes that come from files: overflow is a value to handle, never undefined behaviour.

#include <cstdint>
#include <optional>

namespace sparing {

inline std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b) {
  std::uint64_t r;
  if (__builtin_add_overflow(a, b, &r)) return std::nullopt;
  return r;
}
inline std::optional<std::uint64_t> checked_mul(std::uint64_t a, std::uint64_t b) {
  std::uint64_t r;
  if (__builtin_mul_overflow(a, b, &r)) return std::nullopt;
  return r;
}
constexpr std::uint64_t ceil_div(std::uint64_t a, std::uint64_t b) {
  return a / b + (a % b != 0);
}
/// Smallest multiple of `to` that is >= n. The caller has ruled out overflow.
constexpr std::uint64_t round_up(std::uint64_t n, std::uint64_t to) {
  return ceil_div(n, to) * to;
}

}  // namespace sparing
