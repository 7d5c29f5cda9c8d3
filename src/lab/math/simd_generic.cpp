#include <algorithm>
#include <cmath>

#include "lab/math/simd.h"

namespace sparing::math {
namespace {

template <class T>
struct Single {
  using Scalar = T;
  using Vector = T;
  static constexpr int lanes = 1;
  static T load(const T* p) { return *p; }
  static void store(T* p, T v) { *p = v; }
  static T broadcast(T f) { return f; }
  static T zero() { return 0; }
  static T fma(T a, T b, T c) { return std::fma(a, b, c); }
  static T mul(T a, T b) { return a * b; }
  static T sub(T a, T b) { return a - b; }
  static T round(T v) { return std::nearbyint(v); }
  static T min(T a, T b) { return std::min(a, b); }
  static T max(T a, T b) { return std::max(a, b); }
};
using F32 = Single<float>;
using F64 = Single<double>;
#include "lab/math/simd_body.h"

}  // namespace

const Simd simd_generic{
    "generic",      4,          4, 4, 4, micro_tile<F32, 4, 4>, micro_tile<F64, 4, 4>, axpy_all, dot_all,
    trial_loss_all, nearest_all};

}  // namespace sparing::math
