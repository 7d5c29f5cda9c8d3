#include "base/units.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace sparing {
namespace {

struct Split {
  double number;
  std::string_view suffix;
};

std::optional<Split> split_number(std::string_view text) {
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || !std::isfinite(number) || number < 0) return std::nullopt;
  return Split{number, text.substr(static_cast<std::size_t>(end - text.data()))};
}

}  // namespace

Result<std::uint64_t> parse_bytes(std::string_view text) {
  const auto fail = [&] {
    return usage_error("[size] '" + std::string(text) +
                       "' is not a size: write bytes, or a number with KB, MB, GB (10^3) or KiB, MiB, GiB (2^10)");
  };
  const auto parts = split_number(text);
  if (!parts) return fail();
  struct Unit {
    std::string_view name;
    double factor;
  };
  static constexpr std::array<Unit, 10> units{{{"", 1},
                                               {"B", 1},
                                               {"KB", 1e3},
                                               {"kB", 1e3},
                                               {"MB", 1e6},
                                               {"GB", 1e9},
                                               {"TB", 1e12},
                                               {"KiB", 1024.0},
                                               {"MiB", 1048576.0},
                                               {"GiB", 1073741824.0}}};
  for (const Unit& unit : units) {
    if (parts->suffix != unit.name) continue;
    const double bytes = std::floor(parts->number * unit.factor);
    if (bytes >= 0x1.0p63) return fail();
    return static_cast<std::uint64_t>(bytes);
  }
  return fail();
}

Result<double> parse_rate(std::string_view text) {
  const auto parts = split_number(text);
  if (parts && (parts->suffix.empty() || parts->suffix == "tok/s")) return parts->number;
  return usage_error("[rate] '" + std::string(text) + "' is not a rate: write tokens per second, as in 60tok/s");
}

Result<double> parse_seconds(std::string_view text) {
  if (const auto parts = split_number(text)) {
    if (parts->suffix.empty() || parts->suffix == "s") return parts->number;
    if (parts->suffix == "min") return parts->number * 60;
    if (parts->suffix == "h") return parts->number * 3600;
  }
  return usage_error("[time] '" + std::string(text) + "' is not a time: write 90s, 20min or 1.5h");
}

std::string format_bytes(std::uint64_t bytes) {
  static constexpr std::array<const char*, 5> names{"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < names.size()) {
    value /= 1024;
    ++unit;
  }
  std::array<char, 32> text{};
  const int decimals = unit == 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2;
  std::snprintf(text.data(), text.size(), "%.*f %s", decimals, value, names[unit]);
  return text.data();
}

std::string format_duration(double seconds) {
  const auto total = static_cast<long long>(std::llround(std::min(std::max(0.0, seconds), 1e12)));
  std::array<char, 48> text{};
  if (total < 60) {
    std::snprintf(text.data(), text.size(), "%llds", total);
  } else if (total < 3600) {
    std::snprintf(text.data(), text.size(), "%lld:%02lld", total / 60, total % 60);
  } else {
    std::snprintf(text.data(), text.size(), "%lld:%02lld:%02lld", total / 3600, total / 60 % 60, total % 60);
  }
  return text.data();
}

std::string format_count(std::uint64_t n) {
  std::string digits = std::to_string(n);
  for (std::size_t i = digits.size(); i > 3; i -= 3) digits.insert(i - 3, ",");
  return digits;
}

}  // namespace sparing
