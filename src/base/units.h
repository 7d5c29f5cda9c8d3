#pragma once
// Sizes and rates as users write them: 48MiB, 90MB, 60tok/s, 8MiB@2048, 20min.

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sparing {

inline constexpr std::uint64_t kKiB = 1024, kMiB = 1024 * kKiB, kGiB = 1024 * kMiB;

/// "60MiB" (2^20), "90MB" (10^6), "1.5GiB", "4096" or "4096B" as bytes. Rejects negatives, overflow and unknown
/// suffixes.
Result<std::uint64_t> parse_bytes(std::string_view text);
/// "60tok/s" or "60" as tokens per second.
Result<double> parse_rate(std::string_view text);
/// "90s", "20min", "1.5h" or plain seconds.
Result<double> parse_seconds(std::string_view text);

/// "85.8 MiB", three significant figures, binary units.
std::string format_bytes(std::uint64_t bytes);
/// "1:02:03" or "2:03" or "12s".
std::string format_duration(double seconds);
/// "105,454,400".
std::string format_count(std::uint64_t n);

}  // namespace sparing
