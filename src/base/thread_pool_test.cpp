#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

namespace sparing {
namespace {

TEST(ThreadPool, CoversTheRangeOnceWhateverItsSize) {
  for (int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads);
    for (std::int64_t n : {0, 1, 15, 16, 17, 1000}) {
      std::vector<std::atomic<int>> hits(static_cast<std::size_t>(n));
      pool.parallel_for(n, 16, [&](std::int64_t begin, std::int64_t end, int worker) {
        EXPECT_EQ(begin % 16, 0);
        EXPECT_TRUE(end % 16 == 0 || end == n);
        EXPECT_LT(worker, threads);
        for (auto i = begin; i < end; ++i) hits[static_cast<std::size_t>(i)]++;
      });
      for (auto& h : hits) EXPECT_EQ(h.load(), 1);
    }
  }
}

// Plain (not atomic) writes and reads across jobs: the pool itself must order them. TSan watches.
TEST(ThreadPool, OrdersPlainMemoryBetweenJobs) {
  ThreadPool pool(4);
  std::vector<std::int64_t> data(1000, 0);
  for (int round = 0; round < 200; ++round) {
    pool.parallel_for(1000, 1, [&](std::int64_t begin, std::int64_t end, int) {
      for (auto i = begin; i < end; ++i) data[static_cast<std::size_t>(i)] += i;
    });
    // The other way round, so that another worker than before touches each element.
    pool.parallel_for(1000, 1, [&](std::int64_t begin, std::int64_t end, int) {
      for (auto i = begin; i < end; ++i) data[static_cast<std::size_t>(999 - i)] += 1;
    });
  }
  for (std::int64_t i = 0; i < 1000; ++i) EXPECT_EQ(data[static_cast<std::size_t>(i)], 200 * (i + 1));
}

TEST(ThreadPool, WakesAfterSleeping) {
  ThreadPool pool(3);
  for (int round = 0; round < 40; ++round) {
    if (round % 4 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::atomic<std::int64_t> sum{0};
    pool.parallel_for(100, 1, [&](std::int64_t b, std::int64_t e, int) {
      for (auto i = b; i < e; ++i) sum += i;
    });
    EXPECT_EQ(sum.load(), 4950);
  }
}

TEST(ThreadPool, EndsWhileWorkersSpinOrSleep) {
  for (int i = 0; i < 20; ++i) ThreadPool pool(3);
  ThreadPool sleeping(3);
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
}

TEST(ThreadPool, SomeCoreIsThere) {
  EXPECT_GE(available_cores(), 1);
}

}  // namespace
}  // namespace sparing
