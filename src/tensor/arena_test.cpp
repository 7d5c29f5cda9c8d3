#include "tensor/arena.h"

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "base/system.h"
#include "base/testing.h"

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

TEST(Arena, TakesZeroesOrABufferElsewhere) {
  Arena arena(2 << 20);
  Buffer here = arena.take(1000), elsewhere = arena.take(3 << 20);
  EXPECT_EQ(here.size(), 1000u);
  EXPECT_EQ(elsewhere.size(), 3u << 20);
  for (const Buffer* b : {&here, &elsewhere}) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(b->data()) % 64, 0u);
    for (const std::byte v : b->as<const std::byte>()) ASSERT_EQ(v, std::byte{0});
  }
  EXPECT_TRUE(arena.holds(Blob::of(std::move(here))));
  EXPECT_FALSE(arena.holds(Blob::of(std::move(elsewhere))));
  EXPECT_FALSE(arena.holds(Blob{}));
}

TEST(Arena, WhatIsThereStays) {
  Arena arena(2 << 20);
  const Blob placed = arena.place(blob_of(100, 3));
  EXPECT_EQ(arena.place(placed).bytes.data(), placed.bytes.data());
}

TEST(Arena, LetsGoOfAMappedFilesPagesAsItCopies) {
  constexpr std::size_t size = 48 << 20;
  const testkit::TemporaryFolder folder;
  {
    std::ofstream out(folder / "blob", std::ios::binary);
    for (std::size_t i = 0; i < size >> 20; ++i) out << std::string(1 << 20, static_cast<char>('a' + i % 26));
  }
  const auto file = MappedFile::open(folder / "blob");
  ASSERT_TRUE(file.ok());
  if (!restart_peak_resident()) GTEST_SKIP() << "this system does not let a process write its clear_refs";
  const std::uint64_t before = resident_bytes();
  Arena arena(size);
  const Blob placed = arena.place(Blob::in(*file, (*file)->bytes()));
  EXPECT_TRUE(arena.holds(placed));
  for (std::size_t i = 0; i < size; i += 999) ASSERT_EQ(static_cast<char>(placed.bytes[i]), 'a' + (i >> 20) % 26);
  EXPECT_LT(peak_resident_bytes(), before + size + size / 3);
}

// Sizes that often run into the end: a place may be given to one only.
TEST(Arena, ThreadsNeverShareAPlace) {
  for (int round = 0; round < 50; ++round) {
    Arena arena(2 << 20);
    std::vector<Blob> placed(256);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&, t] {
        for (int i = t; i < 256; i += 4)
          placed[static_cast<std::size_t>(i)] = arena.place(blob_of(i % 3 == 0 ? 40000 : 6000, i));
      });
    for (auto& t : threads) t.join();
    for (int i = 0; i < 256; ++i)
      for (const std::byte v : placed[static_cast<std::size_t>(i)].bytes) ASSERT_EQ(static_cast<int>(v), i);
  }
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
