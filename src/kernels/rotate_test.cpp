// Hadamard transforms of every instruction set that this machine has, against codecs/transform.cpp to the bit.

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/rng.h"
#include "codecs/transform.h"
#include "kernels/isa.h"
#include "kernels/kernel_set.h"
#include "kernels/linear.h"

namespace sparing::kernels {
namespace {

std::vector<float> inputs(std::int64_t cols, Rng& rng) {
  std::vector<float> x(static_cast<std::size_t>(cols));
  for (float& value : x) value = static_cast<float>(rng.normal()) * (rng.below(50) == 0 ? 1e4f : 1.0f);
  x[0] = 0.0f;
  x[1] = -0.0f;
  x[2] = std::numeric_limits<float>::denorm_min();
  return x;
}

TEST(Rotate, GivesTheBitsOfTheCodec) {
  Rng rng(7);
  for (const Isa isa : available_isas()) {
    const KernelSet& kernels = kernels_of(isa);
    const bool has_one = isa != Isa::reference && isa != Isa::neon && isa != Isa::neon_dotprod;
    ASSERT_EQ(kernels.rotate != nullptr, has_one) << name_of(isa);
    if (!has_one) continue;
    for (const std::int64_t block : {16, 32, 64, 128, 256, 512, 1024, 2048})
      for (const std::int64_t blocks : {1, 3}) {
        const std::int64_t cols = block * blocks;
        std::vector<bool> negative;
        for (std::int64_t i = 0; i < cols; ++i) negative.push_back(rng.below(2) == 1);
        const Transform t = hadamard_transform(static_cast<std::int32_t>(block), negative).value();
        const std::vector<float> x = inputs(cols, rng);
        std::vector<float> expected(x.size()), found(x.size());
        apply_transform(t, cols, x.data(), expected.data());
        kernels.rotate(t.blob.bytes.data(), cols, block, 1.0f / std::sqrt(static_cast<float>(block)), x.data(),
                       found.data());
        EXPECT_EQ(std::memcmp(expected.data(), found.data(), 4 * x.size()), 0)
            << name_of(isa) << ", blocks of " << block << ", width " << cols;
      }
  }
}

}  // namespace
}  // namespace sparing::kernels
