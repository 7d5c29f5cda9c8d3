#include "lab/math/simd.h"

#include <cstring>
#include <initializer_list>

namespace sparing::math {

const Simd* simd_named(const char* name) {
  if (std::strcmp(name, "generic") == 0) return &simd_generic;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (std::strcmp(name, "avx2") == 0 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return &simd_avx2;
  if (std::strcmp(name, "avx512") == 0 && __builtin_cpu_supports("avx512f")) return &simd_avx512;
#endif
  return nullptr;
}

const Simd& simd() {
  static const Simd* const best = [] {
    for (const char* name : {"avx512", "avx2"})
      if (const Simd* s = simd_named(name)) return s;
    return &simd_generic;
  }();
  return *best;
}

}  // namespace sparing::math
