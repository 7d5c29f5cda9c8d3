#include "tensor/arena.h"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>
#include <vector>

namespace sparing {
namespace {

Blob blob_of(std::size_t size, int value) {
  Buffer buffer(size);
  std::memset(buffer.data(), value, size);
  return Blob::of(std::move(buffer));
}

TEST(Arena, CopiesAlignsAndOutlivesItself) {
  Blob a, b;
  {
    Arena arena(1 << 20);
    a = arena.place(blob_of(100, 7));
    b = arena.place(blob_of(65, 9));
  }
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(a.bytes.data()) % 64, 0u);
  EXPECT_EQ(b.bytes.data(), a.bytes.data() + 128);
  for (const std::byte v : a.bytes) EXPECT_EQ(v, std::byte{7});
  for (const std::byte v : b.bytes) EXPECT_EQ(v, std::byte{9});
}

TEST(Arena, WhatDoesNotFitStaysWhereItWas) {
  Arena arena(2 << 20), none(0);
  const Blob large = blob_of(3 << 20, 1), small = blob_of(64, 2);
  EXPECT_EQ(arena.place(large).bytes.data(), large.bytes.data());
  EXPECT_NE(arena.place(small).bytes.data(), small.bytes.data());
  EXPECT_EQ(none.place(small).bytes.data(), small.bytes.data());
}

TEST(Arena, ThreadsGetPlacesOfTheirOwn) {
  Arena arena(8 << 20);
  std::vector<Blob> placed(64);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = t; i < 64; i += 4) placed[static_cast<std::size_t>(i)] = arena.place(blob_of(1000, i));
    });
  for (auto& t : threads) t.join();
  for (int i = 0; i < 64; ++i)
    for (const std::byte v : placed[static_cast<std::size_t>(i)].bytes) ASSERT_EQ(static_cast<int>(v), i);
}

}  // namespace
}  // namespace sparing
