#include "lab/device.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstdlib>

extern "C" void openblas_set_num_threads(int) __attribute__((weak));

namespace sparing::lab {
namespace {

/// Of what can be a page of text.
std::string first_sentence(const c10::Error& thrown) {
  const std::string all = thrown.what_without_backtrace();
  return all.substr(0, std::min(all.find('\n'), all.find(". ")));
}

}  // namespace

Result<at::Device> find_device(const std::string& name) {
  try {
    const at::Device device(name);
    if (device.is_cpu()) return device;
    if (device.is_cuda() && !at::hasCUDA())
      return usage_error("[device] --device " + name +
                         ": libtorch finds no CUDA device: give cpu, or build with a libtorch " +
                         "for CUDA (HACKING.md says how)");
    // Sums by atomics, and products whose workspace is another's, would come out otherwise each time.
    ::setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0);
    at::globalContext().setDeterministicAlgorithms(true, false);
    static_cast<void>(at::zeros({1}, at::TensorOptions(device)).to(at::kCPU));
    return device;
  } catch (const c10::Error& thrown) {
    return usage_error("[device] --device " + name + ": " + first_sentence(thrown) +
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

Error thrown_error(const std::string& operation, const c10::Error& thrown) {
  return resource_error("[" + operation + "] " + first_sentence(thrown) +
                        ": give it less at once (--calib-length), or another --device");
}

}  // namespace sparing::lab
