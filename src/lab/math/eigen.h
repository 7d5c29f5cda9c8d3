#pragma once
// Eigenvectors of symmetric matrices, to the same bits with any number of threads: every element is computed by one
// thread, its terms in a fixed order.

#include <cstdint>
#include <vector>

#include "base/thread_pool.h"

namespace sparing::math {

struct Eigen {
  std::vector<double> values;   ///< all n, descending
  std::vector<double> vectors;  ///< [count, n]: unit vectors of the first; each one's entry of largest size is positive
};

/// Of the symmetric a [n, n], both triangles given, which is overwritten: Householder's tridiagonal form, then implicit
/// QL steps with Wilkinson's shift (Golub and Van Loan, Matrix Computations, 8.3). About 7 n^3 operations and 2 n^2 for
/// each of the `count` vectors wanted. Values that are not finite come back as NaN throughout.
Eigen symmetric_eigen(std::int64_t n, std::vector<double>& a, std::int64_t count, ThreadPool& pool);

}  // namespace sparing::math
