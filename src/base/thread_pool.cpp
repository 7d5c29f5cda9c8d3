#include "base/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cmath>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

namespace sparing {
namespace {

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// About 50 microseconds of pauses: longer than the gaps inside a token, shorter than a user's patience.
constexpr int kSpins = 2000;

}  // namespace

int available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                          : static_cast<int>(std::thread::hardware_concurrency());
  std::ifstream limit("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (limit >> quota >> period && quota != "max" && period > 0) {
    cores = std::min(cores, static_cast<int>(std::ceil(std::stod(quota) / period)));
  }
  return std::max(1, cores);
}

struct ThreadPool::Impl {
  struct alignas(64) Line {
    std::atomic<std::uint64_t> value{0};
  };

  int size = 1;
  std::vector<std::thread> workers;
  Line generation;  // raised once per job
  Line remaining;   // workers that have not finished the job
  Line sleepers;
  std::atomic<bool> stop{false};
  std::mutex mutex;
  std::condition_variable wake;

  Body body = nullptr;
  void* context = nullptr;
  std::int64_t n = 0, grain = 1;

  void part(int worker) const {
    const std::int64_t units = (n + grain - 1) / grain;
    const std::int64_t begin = units * worker / size * grain, end = std::min(n, units * (worker + 1) / size * grain);
    if (begin < end) body(context, begin, end, worker);
  }

  void work(int worker) {
    std::uint64_t seen = 0;
    for (;;) {
      std::uint64_t now = generation.value.load(std::memory_order_acquire);
      for (int spin = 0; now == seen && spin < kSpins; ++spin) {
        relax();
        now = generation.value.load(std::memory_order_acquire);
      }
      if (now == seen) {
        std::unique_lock lock(mutex);
        sleepers.value.fetch_add(1, std::memory_order_seq_cst);
        wake.wait(lock, [&] { return generation.value.load(std::memory_order_seq_cst) != seen; });
        sleepers.value.fetch_sub(1, std::memory_order_relaxed);
        now = generation.value.load(std::memory_order_acquire);
      }
      seen = now;
      if (stop.load(std::memory_order_acquire)) return;
      part(worker);
      remaining.value.fetch_sub(1, std::memory_order_release);
    }
  }

  void raise() {
    generation.value.fetch_add(1, std::memory_order_seq_cst);
    if (sleepers.value.load(std::memory_order_seq_cst) > 0) {
      {
        std::lock_guard lock(mutex);
      }
      wake.notify_all();
    }
  }
};

ThreadPool::ThreadPool(int threads) : impl_(std::make_unique<Impl>()) {
  const int wanted = threads > 0 ? threads : available_cores();
  // Workers read `size` only after the first job's release, so it may be set last: a process limit on threads makes the
  // pool smaller, which changes no result.
  try {
    for (int i = 1; i < wanted; ++i) impl_->workers.emplace_back([this, i] { impl_->work(i); });
  } catch (const std::system_error&) {
  }
  impl_->size = static_cast<int>(impl_->workers.size()) + 1;
}

ThreadPool::~ThreadPool() {
  impl_->stop.store(true, std::memory_order_release);
  impl_->raise();
  for (auto& worker : impl_->workers) worker.join();
}

int ThreadPool::size() const {
  return impl_->size;
}

void ThreadPool::run(std::int64_t n, std::int64_t grain, Body body, void* context) {
  assert(grain > 0);
  if (n <= 0) return;
  Impl& pool = *impl_;
  if (pool.size == 1 || n <= grain) {
    body(context, 0, n, 0);
    return;
  }
  pool.body = body;
  pool.context = context;
  pool.n = n;
  pool.grain = grain;
  pool.remaining.value.store(static_cast<std::uint64_t>(pool.size - 1), std::memory_order_relaxed);
  pool.raise();
  pool.part(0);
  // Workers may be descheduled on a busy machine: after a while give the core away instead of burning it.
  for (int spin = 0; pool.remaining.value.load(std::memory_order_acquire) != 0; ++spin) {
    if (spin < kSpins) {
      relax();
    } else {
      std::this_thread::yield();
    }
  }
}

}  // namespace sparing
