#pragma once
// One pool of threads per process for compute. parallel_for splits an index range statically, so which thread computes
// what never changes a result: callers split only over outputs.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace sparing {

class ThreadPool {
 public:
  /// `threads` includes the calling thread; 0 means one per available core. Fewer if the system refuses that many.
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;

  /// Calls f(begin, end, worker) on contiguous parts of [0, n), each a multiple of `grain` long but the last, and
  /// returns when all are done. No allocation and no lock while workers are awake. One job at a time: f must
  /// not call back into the pool or throw. worker is in [0, size()).
  template <class F>
  void parallel_for(std::int64_t n, std::int64_t grain, F&& f) {
    run(
        n, grain,
        [](void* c, std::int64_t b, std::int64_t e, int w) { (*static_cast<std::remove_reference_t<F>*>(c))(b, e, w); },
        const_cast<void*>(static_cast<const void*>(&f)));
  }

 private:
  using Body = void (*)(void* context, std::int64_t begin, std::int64_t end, int worker);
  void run(std::int64_t n, std::int64_t grain, Body body, void* context);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Cores this process may use (affinity and cgroup quota respected).
int available_cores();

}  // namespace sparing
