#include "eval/distribution.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace sparing {
namespace {

using Double8 = double __attribute__((vector_size(64)));
using Float8 = float __attribute__((vector_size(32)));
using Int8 = long long __attribute__((vector_size(64)));

constexpr std::int64_t kLanes = 8;
// Below this e^x is left out of any sum that contains e^0.
constexpr double kFloor = -708.0;

#define SPARING_INLINE [[gnu::always_inline]] inline

/// e^x for x in [-708, 0]: x = k ln 2 + r, a degree 11 polynomial for e^r (error below 7e-15), k into the exponent.
SPARING_INLINE void exp_nonpositive(const Double8& x, Double8& out) {
  constexpr double kMagic = 0x1.8p52, kLog2e = 1.4426950408889634, kLn2High = 0x1.62e42fefa3800p-1,
                   kLn2Low = 0x1.ef35793c76730p-45;
  const Double8 shifted = x * kLog2e + kMagic;
  const Double8 k = shifted - kMagic;
  const Double8 r = (x - k * kLn2High) - k * kLn2Low;
  Double8 p = r * (1.0 / 39916800) + 1.0 / 3628800;
  p = p * r + 1.0 / 362880;
  p = p * r + 1.0 / 40320;
  p = p * r + 1.0 / 5040;
  p = p * r + 1.0 / 720;
  p = p * r + 1.0 / 120;
  p = p * r + 1.0 / 24;
  p = p * r + 1.0 / 6;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  // The low bits of `shifted` are k in two's complement.
  Int8 bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 1023) << 52;
  Double8 scale;
  std::memcpy(&scale, &bits, sizeof scale);
  out = p * scale;
}

/// Eight logits less their maximum, floored. Past the end: the floor.
SPARING_INLINE void load(const float* logits, std::int64_t i, std::int64_t n, double maximum, Double8& out) {
  Float8 raw;
  if (i + kLanes <= n) {
    std::memcpy(&raw, logits + i, sizeof raw);
  } else {
    float padded[kLanes];
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      padded[lane] = i + lane < n ? logits[i + lane] : -std::numeric_limits<float>::infinity();
    }
    std::memcpy(&raw, padded, sizeof raw);
  }
  const Double8 x = __builtin_convertvector(raw, Double8) - maximum;
  const Double8 floor = Double8{} + kFloor;
  out = x < floor ? floor : x;
}

SPARING_INLINE double total(const Double8& v) {
  return ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
}

SPARING_INLINE float maximum_of(const float* logits, std::int64_t n) {
  Float8 best = Float8{} - std::numeric_limits<float>::infinity();
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    Float8 x;
    std::memcpy(&x, logits + i, sizeof x);
    best = x > best ? x : best;
  }
  float result = -std::numeric_limits<float>::infinity();
  for (std::int64_t lane = 0; lane < kLanes; ++lane) result = std::max(result, best[lane]);
  for (; i < n; ++i) result = std::max(result, logits[i]);
  return result;
}

struct Sums {
  double reference = 0, candidate = 0;  ///< sum of e^(z - max)
  double gap = 0;                       ///< sum of e^(zr - max_r) * ((zr - max_r) - (zc - max_c))
};

SPARING_INLINE double sum_exp_body(const float* z, std::int64_t n, double maximum) {
  Double8 sum{};
  for (std::int64_t i = 0; i < n; i += kLanes) {
    Double8 x, e;
    load(z, i, n, maximum, x);
    exp_nonpositive(x, e);
    sum += e;
  }
  return total(sum);
}

SPARING_INLINE Sums sums_body(const float* zr, const float* zc, std::int64_t n, double max_r, double max_c) {
  Double8 sr{}, sc{}, gap{};
  for (std::int64_t i = 0; i < n; i += kLanes) {
    Double8 r, c, er, ec;
    load(zr, i, n, max_r, r);
    load(zc, i, n, max_c, c);
    exp_nonpositive(r, er);
    exp_nonpositive(c, ec);
    sr += er;
    sc += ec;
    gap += er * (r - c);
  }
  return {total(sr), total(sc), total(gap)};
}

float maximum_plain(const float* z, std::int64_t n) {
  return maximum_of(z, n);
}
double sum_exp_plain(const float* z, std::int64_t n, double m) {
  return sum_exp_body(z, n, m);
}
Sums sums_plain(const float* zr, const float* zc, std::int64_t n, double mr, double mc) {
  return sums_body(zr, zc, n, mr, mc);
}

#if defined(__x86_64__)
// The same code, compiled for wider registers; without contraction the results are the same bits.
[[gnu::target("avx2")]] float maximum_avx2(const float* z, std::int64_t n) {
  return maximum_of(z, n);
}
[[gnu::target("avx2")]] double sum_exp_avx2(const float* z, std::int64_t n, double m) {
  return sum_exp_body(z, n, m);
}
[[gnu::target("avx2")]] Sums sums_avx2(const float* zr, const float* zc, std::int64_t n, double mr, double mc) {
  return sums_body(zr, zc, n, mr, mc);
}
[[gnu::target("avx512f,avx512dq")]] double sum_exp_avx512(const float* z, std::int64_t n, double m) {
  return sum_exp_body(z, n, m);
}
[[gnu::target("avx512f,avx512dq")]] Sums sums_avx512(const float* zr, const float* zc, std::int64_t n, double mr,
                                                     double mc) {
  return sums_body(zr, zc, n, mr, mc);
}
#endif

struct Kernels {
  float (*maximum)(const float*, std::int64_t) = maximum_plain;
  double (*sum_exp)(const float*, std::int64_t, double) = sum_exp_plain;
  Sums (*sums)(const float*, const float*, std::int64_t, double, double) = sums_plain;
};

const Kernels& kernels() {
  static const Kernels chosen = [] {
    Kernels k;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) k = {maximum_avx2, sum_exp_avx2, sums_avx2};
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")) {
      k.sum_exp = sum_exp_avx512;
      k.sums = sums_avx512;
    }
#endif
    return k;
  }();
  return chosen;
}

std::int32_t first_of(std::span<const float> logits, float value) {
  const auto at = std::find(logits.begin(), logits.end(), value);
  return at == logits.end() ? 0 : static_cast<std::int32_t>(at - logits.begin());
}

TokenScore score(std::span<const float> logits, std::int32_t target, float maximum, double sum) {
  const double below = static_cast<double>(maximum) - logits[static_cast<std::size_t>(target)];
  return {std::log(sum) + below, first_of(logits, maximum)};
}

}  // namespace

TokenScore score_token(std::span<const float> logits, std::int32_t target) {
  const auto n = static_cast<std::int64_t>(logits.size());
  const float maximum = kernels().maximum(logits.data(), n);
  return score(logits, target, maximum, kernels().sum_exp(logits.data(), n, maximum));
}

TokenComparison compare_token(std::span<const float> reference, std::span<const float> candidate, std::int32_t target) {
  const auto n = static_cast<std::int64_t>(reference.size());
  const float max_r = kernels().maximum(reference.data(), n), max_c = kernels().maximum(candidate.data(), n);
  const Sums sums = kernels().sums(reference.data(), candidate.data(), n, max_r, max_c);
  TokenComparison result;
  result.reference = score(reference, target, max_r, sums.reference);
  result.candidate = score(candidate, target, max_c, sums.candidate);
  // sum p (ln p - ln q) with ln p = zr - max_r - ln S_r; rounding may leave a tiny negative.
  const double kl = sums.gap / sums.reference - std::log(sums.reference) + std::log(sums.candidate);
  result.kl = kl < 0 ? 0 : kl;
  result.delta_p = std::exp(-result.candidate.nll) - std::exp(-result.reference.nll);
  return result;
}

}  // namespace sparing
