#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <numeric>
#include <thread>
#include <vector>

#include "base/atomic_file.h"
#include "base/rng.h"
#include "base/sha256.h"
#include "base/thread_pool.h"
#include "base/units.h"

namespace sparing {
namespace {

TEST(Units, BytesFollowTheirSuffix) {
  EXPECT_EQ(*parse_bytes("60MiB"), 60u * 1048576);
  EXPECT_EQ(*parse_bytes("90MB"), 90'000'000u);
  EXPECT_EQ(*parse_bytes("1.5GiB"), 1610612736u);
  EXPECT_EQ(*parse_bytes("4096"), 4096u);
  for (const char* bad : {"", "MiB", "-3MB", "3XB", "1e30GiB", "nan", "inf", "12 MB"})
    EXPECT_FALSE(parse_bytes(bad).ok()) << bad;
}

TEST(Units, RatesAndTimes) {
  EXPECT_DOUBLE_EQ(*parse_rate("60tok/s"), 60);
  EXPECT_DOUBLE_EQ(*parse_seconds("20min"), 1200);
  EXPECT_FALSE(parse_seconds("20parsecs").ok());
  EXPECT_EQ(format_count(105454400), "105,454,400");
  EXPECT_EQ(format_bytes(90ull << 20), "90.0 MiB");
}

TEST(Sha256, KnownDigest) {
  const std::string text = "abc";  // FIPS 180-2, B.1
  EXPECT_EQ(sha256_hex(std::as_bytes(std::span(text))),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(ThreadPool, CoversTheRangeOnceWhateverItsSize) {
  for (int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    for (std::int64_t n : {0, 1, 15, 16, 17, 1000}) {
      std::vector<std::atomic<int>> hits(static_cast<std::size_t>(n));
      pool.parallel_for(n, 16, [&](std::int64_t begin, std::int64_t end, int worker) {
        EXPECT_EQ(begin % 16, 0);
        EXPECT_LT(worker, threads);
        for (auto i = begin; i < end; ++i) hits[static_cast<std::size_t>(i)]++;
      });
      for (auto& h : hits) EXPECT_EQ(h.load(), 1);
    }
  }
}

TEST(ThreadPool, WakesAfterSleeping) {
  ThreadPool pool(2);
  for (int round = 0; round < 20; ++round) {
    if (round % 5 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(3));
    std::atomic<std::int64_t> sum{0};
    pool.parallel_for(100, 1, [&](std::int64_t b, std::int64_t e, int) {
      for (auto i = b; i < e; ++i) sum += i;
    });
    EXPECT_EQ(sum.load(), 4950);
  }
}

TEST(AtomicFile, LeavesNothingWithoutCommit) {
  const auto folder = std::filesystem::temp_directory_path() / ("sparing-atomic-" + std::to_string(::getpid()));
  std::filesystem::create_directory(folder);
  {
    auto file = AtomicFile::create(folder / "a");
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->write("half").ok());
  }
  EXPECT_TRUE(std::filesystem::is_empty(folder));
  ASSERT_TRUE(write_file_atomically(folder / "a", "whole").ok());
  EXPECT_EQ(*read_text_file(folder / "a"), "whole");
  std::filesystem::create_directory(folder / "staging");
  EXPECT_FALSE(publish_directory(folder / "staging", folder / "a").ok());
  EXPECT_TRUE(publish_directory(folder / "staging", folder / "b").ok());
  std::filesystem::remove_all(folder);
}

TEST(Rng, SameSeedSameStream) {
  Rng a(7), b(7), c(8);
  EXPECT_EQ(a.next(), b.next());
  EXPECT_NE(a.next(), c.next());
  double mean = 0;
  for (int i = 0; i < 20000; ++i) mean += a.normal() / 20000;
  EXPECT_NEAR(mean, 0, 0.03);
}

}  // namespace
}  // namespace sparing
