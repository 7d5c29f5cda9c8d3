#pragma once
#include <cstdint>
#include <string_view>

namespace sparing {

/// A loop of independent multiply-adds on registers.
struct PeakKernel {
  std::string_view unit;
  double ops_per_round = 0;  ///< a multiply and an add count two
  void (*run)(std::int64_t rounds) = nullptr;
};
/// The best unit of this processor; AMX only where the kernel has granted it.
PeakKernel best_int8_kernel();
PeakKernel best_f32_kernel();

}  // namespace sparing
