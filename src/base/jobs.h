#pragma once
// Independent pieces of work done several at once, each by its share of the threads.

#include <algorithm>
#include <atomic>
#include <optional>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"

namespace sparing {

/// How many threads each of `jobs` has when there are `threads` (0: all cores); at least one.
inline int threads_each(int threads, int jobs) {
  const int all = threads > 0 ? threads : available_cores();
  return std::max(1, all / std::max(1, jobs));
}

/// Calls f(i, taker) for every i < n: each of `takers` of the pool's threads takes the least i that is left once it is
/// done with its last. f must not throw.
template <class F>
void take_turns(ThreadPool& pool, std::size_t takers, std::size_t n, F&& f) {
  std::atomic<std::size_t> next{0};
  pool.parallel_for(static_cast<std::int64_t>(takers), 1, [&](std::int64_t first, std::int64_t last, int) {
    for (auto taker = static_cast<std::size_t>(first); taker < static_cast<std::size_t>(last); ++taker)
      for (std::size_t i = next++; i < n; i = next++) f(i, taker);
  });
}

/// Calls f(i) for every i < n, at most `jobs` at once, in ascending order of their starts. f returns a Status and must
/// not throw. The error of the least i that failed; what is not begun by then is left out.
template <class F>
Status at_once(int jobs, std::size_t n, F&& f) {
  if (jobs <= 1 || n <= 1) {
    for (std::size_t i = 0; i < n; ++i) SPARING_CHECK_OK(f(i));
    return {};
  }
  std::vector<std::optional<Error>> errors(n);
  std::atomic<bool> failed{false};
  ThreadPool pool(static_cast<int>(std::min<std::size_t>(static_cast<std::size_t>(jobs), n)));
  take_turns(pool, static_cast<std::size_t>(pool.size()), n, [&](std::size_t i, std::size_t) {
    if (failed) return;
    Status status = f(i);
    if (status.ok()) return;
    errors[i] = status.error();
    failed = true;
  });
  for (auto& error : errors) {
    if (error) return std::move(*error);
  }
  return {};
}

}  // namespace sparing
