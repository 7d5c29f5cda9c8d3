#include "base/jobs.h"

#include <gtest/gtest.h>

#include <numeric>

namespace sparing {
namespace {

TEST(Jobs, EachPieceIsDoneOnce) {
  for (const int jobs : {0, 1, 2, 5, 40}) {
    std::vector<int> done(17);
    ASSERT_TRUE(at_once(jobs, done.size(), [&](std::size_t i) -> Status {
                  ++done[i];
                  return {};
                }).ok());
    EXPECT_EQ(done, std::vector<int>(17, 1)) << jobs;
  }
}

TEST(Jobs, TheFirstErrorIsTold) {
  for (const int jobs : {1, 3}) {
    const Status status = at_once(jobs, 3, [&](std::size_t i) -> Status {
      if (i == 0) return {};
      return input_error("piece " + std::to_string(i));
    });
    ASSERT_FALSE(status.ok());
    EXPECT_EQ(status.error().message, "piece 1");
  }
}

TEST(Jobs, AFailureEndsWhatIsNotBegun) {
  std::atomic<int> begun{0};
  const Status status = at_once(2, 1000, [&](std::size_t) -> Status {
    ++begun;
    return input_error("broken");
  });
  EXPECT_FALSE(status.ok());
  EXPECT_LE(begun, 3);
}

// With more takers than threads too: a thread then takes one's turns after the other's.
TEST(Jobs, TurnsAreTakenByTheirTakers) {
  for (const std::size_t takers : {1, 2, 5}) {
    ThreadPool pool(2);
    std::vector<int> done(17);
    std::vector<std::size_t> by(17);
    take_turns(pool, takers, done.size(), [&](std::size_t i, std::size_t taker) {
      ++done[i];
      by[i] = taker;
    });
    EXPECT_EQ(done, std::vector<int>(17, 1));
    for (const std::size_t taker : by) EXPECT_LT(taker, takers);
  }
}

TEST(Jobs, ThreadsAreSharedOut) {
  EXPECT_EQ(threads_each(8, 3), 2);
  EXPECT_EQ(threads_each(2, 5), 1);
  EXPECT_EQ(threads_each(4, 0), 4);
  EXPECT_EQ(threads_each(0, 1), available_cores());
}

}  // namespace
}  // namespace sparing
