#include "tensor/buffer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <vector>

#include "base/system.h"
#include "tensor/dtype.h"

namespace sparing {
namespace {

TEST(Buffer, IsZeroedAndAligned) {
  for (std::size_t size : {1ul, 63ul, 64ul, 65ul, 4097ul}) {
    Buffer buffer(size);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % 64, 0u);
    const auto bytes = buffer.as<std::uint8_t>();
    EXPECT_EQ(bytes.size(), size);
    EXPECT_TRUE(std::all_of(bytes.begin(), bytes.end(), [](std::uint8_t b) { return b == 0; }));
  }
  EXPECT_EQ(Buffer(0).data(), nullptr);
  EXPECT_EQ(Buffer(7).as<float>().size(), 1u);
}

TEST(Buffer, AMovedFromBufferIsEmpty) {
  Buffer a(100), b;
  b = std::move(a);
  EXPECT_EQ(a.size(), 0u);  // NOLINT: the point of the test
  EXPECT_EQ(b.size(), 100u);
  const Buffer c(std::move(b));
  EXPECT_TRUE(b.as<char>().empty());  // NOLINT
  EXPECT_EQ(c.size(), 100u);
}

TEST(Buffer, GivesItsMemoryBackAmongOthers) {
  constexpr std::size_t size = 300 << 10;
  const std::uint64_t before = resident_bytes();
  std::vector<Buffer> buffers;
  for (int i = 0; i < 200; ++i) {
    buffers.emplace_back(size);
    std::memset(buffers.back().data(), 1, size);
  }
  EXPECT_GT(resident_bytes(), before + 150 * size);
  for (int i = 0; i < 200; ++i)
    if (i % 8 != 0) buffers[static_cast<std::size_t>(i)] = Buffer();
  EXPECT_LT(resident_bytes(), before + 50 * size);
}

TEST(Buffer, LargeOnesTakeMemoryAsTheyAreTouched) {
  const std::uint64_t before = resident_bytes();
  const Buffer buffer(256 << 20);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(buffer.data()) % (2 << 20), 0u);
  EXPECT_LT(resident_bytes(), before + (32 << 20));
}

TEST(Buffer, AnAbsurdSizeDoesNotWrap) {
  EXPECT_THROW(Buffer{std::numeric_limits<std::size_t>::max()}, std::bad_alloc);
}

TEST(Blob, KeepsItsBufferAlive) {
  Blob blob;
  {
    Buffer buffer(16);
    buffer.as<std::uint32_t>()[3] = 42;
    blob = Blob::of(std::move(buffer));
  }
  EXPECT_EQ(blob.as<std::uint32_t>()[3], 42u);
}

TEST(DType, NamesAndSizesAgree) {
  for (int i = 0; i <= static_cast<int>(DType::boolean); ++i) {
    const auto type = static_cast<DType>(i);
    EXPECT_EQ(dtype_from_name(name_of(type)), type);
    EXPECT_GT(size_of(type), 0u);
  }
  EXPECT_EQ(dtype_from_name("F8_E4M3"), std::nullopt);
  EXPECT_EQ(size_of(DType::bf16), 2u);
  EXPECT_TRUE(is_float(DType::bf16));
  EXPECT_FALSE(is_float(DType::u8));
}

}  // namespace
}  // namespace sparing
