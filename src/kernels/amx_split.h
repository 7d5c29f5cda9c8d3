#pragma once
#include <cstddef>
#include <cstdint>

namespace sparing::kernels::amx {

/// A tile of 16 rows x 32 inputs in bf16, and the same of what that leaves of them.
inline constexpr std::int64_t kSplitRows = 16, kSplitInputs = 32, kSplitTile = 1024, kSplitPair = 2 * kSplitTile;

/// Tiles [rows / 16][inputs / 32][high, low], filled up with zeros to whole tiles and to an even number of them by
/// rows.
constexpr std::int64_t split_steps(std::int64_t cols) {
  return (cols + kSplitInputs - 1) / kSplitInputs;
}
constexpr std::int64_t split_bytes(std::int64_t rows, std::int64_t cols) {
  return (rows + 2 * kSplitRows - 1) / (2 * kSplitRows) * 2 * split_steps(cols) * kSplitPair;
}

void split_tokens(const float* x, std::int64_t rows, std::int64_t cols, std::int64_t stride, std::byte* tiles);
void split_weights(const float* w, std::int64_t rows, std::int64_t cols, std::byte* tiles);
void split_multiply(const std::byte* x, std::int64_t tokens, const std::byte* w, std::int64_t outputs,
                    std::int64_t cols, float* y, std::int64_t stride);

}  // namespace sparing::kernels::amx
