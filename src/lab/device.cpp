#include "lab/device.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>
#include <c10/util/Exception.h>

#include <cstdlib>

extern "C" void openblas_set_num_threads(int) __attribute__((weak));

namespace sparing::lab {
namespace {

std::string first_line(const std::exception& thrown) {
  const auto* const own = dynamic_cast<const c10::Error*>(&thrown);
  const std::string all = own != nullptr ? own->what_without_backtrace() : thrown.what();
  return all.substr(0, all.find('\n'));
}

}  // namespace

Result<at::Device> find_device(const std::string& name) {
  try {
    const at::Device device(name);
    if (device.is_cpu()) return device;
    // Sums by atomics, and products whose workspace is another's, would come out otherwise each time.
    ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0);
    at::globalContext().setDeterministicAlgorithms(true, false);
    static_cast<void>(at::zeros({1}, at::TensorOptions(device)).to(at::kCPU));
    return device;
  } catch (const std::exception& thrown) {
    return usage_error("[device] --device " + name + ": " + first_line(thrown) +
                       ": give cpu, or build with a libtorch that has it");
  }
}

OneThreadEach::OneThreadEach() : before_(at::get_num_threads()) {
  if (openblas_set_num_threads) openblas_set_num_threads(1);
}
OneThreadEach::~OneThreadEach() {
  at::set_num_threads(before_);
}
void OneThreadEach::here() {
  at::set_num_threads(1);
}

Error thrown_error(const std::string& operation, const std::exception& thrown) {
  return resource_error("[" + operation + "] " + first_line(thrown) +
                        ": give it less at once (--calib-length), or another --device");
}

}  // namespace sparing::lab
