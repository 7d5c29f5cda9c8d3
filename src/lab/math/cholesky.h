#pragma once
// The factor that error feedback needs: H = R R' with R upper triangular.
//
// For an error row e, e H e' = |e R|^2 and (e R)_j depends on e_0 .. e_j only, so inputs coded in ascending order can
// each make up for the errors before them. GPTQ's Cholesky factor of H^-1 is R^-1; working with R itself needs no
// inverse (arXiv:2210.17323; the equivalence is Babai's nearest plane, arXiv:2507.18553).

#include <cstdint>

#include "base/thread_pool.h"

namespace sparing::math {

/// Replaces h [n, n] (row-major, its upper triangle is read) by R in the upper triangle; the strict lower triangle is
/// left unspecified. False where a pivot is not positive: h is then spoilt, and the caller raises its damping.
template <class T>
bool factor_reversed(std::int64_t n, T* h, ThreadPool& pool);

/// x = A^-1 b for a symmetric positive definite A [n, n], by Cholesky; a and b are overwritten, b with x. For small n.
/// False where A is not positive definite.
bool solve_spd(std::int64_t n, double* a, double* b);

}  // namespace sparing::math
