#include "tensor/half.h"

#include <gtest/gtest.h>

#include <cmath>

namespace sparing {
namespace {

TEST(Half, EveryF16SurvivesTheRoundTrip) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const auto h = static_cast<std::uint16_t>(bits);
    const float f = f16_to_f32(h);
    if (std::isnan(f)) {
      EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(f))));
    } else {
      EXPECT_EQ(f32_to_f16(f), h) << bits;
    }
    const auto b = static_cast<std::uint16_t>(bits);
    if (!std::isnan(bf16_to_f32(b))) {
      EXPECT_EQ(f32_to_bf16(bf16_to_f32(b)), b);
    }
  }
}

#if defined(__aarch64__)
using Float16 = __fp16;
#else
using Float16 = _Float16;
#endif

// The compiler's own conversion is the oracle, ties and subnormals included.
TEST(Half, RoundsAsTheHardwareDoes) {
  std::uint32_t x = 1;
  for (int i = 0; i < 200000; ++i) {
    x = x * 1664525u + 1013904223u;
    const float f = std::bit_cast<float>(x);
    if (std::isnan(f)) continue;
    EXPECT_EQ(f32_to_f16(f), std::bit_cast<std::uint16_t>(static_cast<Float16>(f))) << f;
  }
}

}  // namespace
}  // namespace sparing
