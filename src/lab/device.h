#pragma once
// Where libtorch computes, and how its work is spread over this process's threads.

#include <c10/core/Device.h>
#include <c10/util/Exception.h>

#include <atomic>
#include <exception>
#include <string>

#include "base/result.h"
#include "base/thread_pool.h"

namespace sparing::lab {

/// "cpu", "cuda", "cuda:1", or whatever else this libtorch knows, tried out by an allocation. Errors: a name that it
/// does not know, a device that is not there.
Result<at::Device> find_device(const std::string& name);

/// Leaves libtorch and its BLAS one thread each while it lives: their own would fight with a pool's, and split sums
/// differently for each number of them.
class OneThreadEach {
 public:
  OneThreadEach();
  ~OneThreadEach();
  OneThreadEach(const OneThreadEach&) = delete;
  OneThreadEach& operator=(const OneThreadEach&) = delete;
  /// For a pool's worker: the setting is each thread's own.
  static void here();

 private:
  int before_;
};

/// What libtorch threw, in a sentence, as an error of `operation`.
Error thrown_error(const std::string& operation, const c10::Error& thrown);

/// Calls body(i) for every i < n, each by one thread, so that no bit depends on how many there are. What a body throws
/// is thrown again here, once all are done.
template <class F>
void each_alone(ThreadPool& pool, std::int64_t n, F&& body) {
  std::atomic<bool> failed{false};
  std::exception_ptr first;
  pool.parallel_for(n, 1, [&](std::int64_t begin, std::int64_t end, int) {
    OneThreadEach::here();
    try {
      for (std::int64_t i = begin; i < end && !failed; ++i) body(static_cast<std::size_t>(i));
    } catch (...) {
      if (!failed.exchange(true)) first = std::current_exception();
    }
  });
  if (first) std::rethrow_exception(first);
}

/// f() -> Result or Status with a device found by its name. A device whose memory is full throws: that too comes back
/// as an error. What is thrown on the CPU is a bug, or memory: said in one place for all commands.
template <class F>
auto on_device(const std::string& operation, const std::string& name, F f) -> decltype(f(at::Device(at::kCPU))) {
  const OneThreadEach settings;
  SPARING_TRY(const at::Device device, find_device(name));
  try {
    return f(device);
  } catch (const c10::Error& thrown) {
    if (device.is_cpu()) throw;
    return thrown_error(operation, thrown);
  }
}

}  // namespace sparing::lab
