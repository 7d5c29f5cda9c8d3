#pragma once
// Where the sections of a blob go: one after another, each 64-byte aligned. Any overflow sticks.

#include <cstdint>

#include "base/checked.h"

namespace sparing {

class Sections {
 public:
  std::uint64_t add(std::uint64_t count, std::uint64_t bytes_each) {
    const std::uint64_t start = end_;
    const auto size = checked_mul(count, bytes_each);
    const auto end = size ? checked_add(end_, *size) : std::nullopt;
    if (!end || *end > (1ull << 62)) {
      overflow_ = true;
      return start;
    }
    end_ = round_up(*end, 64);
    return start;
  }
  std::uint64_t end() const { return end_; }
  bool overflow() const { return overflow_; }

 private:
  std::uint64_t end_ = 0;
  bool overflow_ = false;
};

}  // namespace sparing
