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

/// Calls f(i) for every i < n, at most `jobs` at once, in ascending order of their starts. f returns a Status and must
/// not throw. The error of the least i that failed; what is not begun by then is left out.
template <class F>
Status at_once(int jobs, std::size_t n, F&& f) {
  if (jobs <= 1 || n <= 1) {
    for (std::size_t i = 0; i < n; ++i) SPARING_CHECK_OK(f(i));
    return {};
  }
  std::vector<std::optional<Error>> errors(n);
  std::atomic<std::size_t> next{0};
  std::atomic<bool> failed{false};
  ThreadPool pool(static_cast<int>(std::min<std::size_t>(static_cast<std::size_t>(jobs), n)));
  pool.parallel_for(pool.size(), 1, [&](std::int64_t, std::int64_t, int) {
    for (std::size_t i = next++; i < n && !failed; i = next++) {
      Status status = f(i);
      if (status.ok()) continue;
      errors[i] = status.error();
      failed = true;
    }
  });
  for (auto& error : errors) {
    if (error) return std::move(*error);
  }
  return {};
}

}  // namespace sparing
