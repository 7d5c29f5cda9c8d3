#include "lab/math/eigen.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace sparing::math {
namespace {

/// Rows from which on threads share a step of the tridiagonal form: below, waking them takes longer.
constexpr std::int64_t kRowsApart = 1024;

struct Reflector {
  std::int64_t first;  ///< its vector's first entry that is not zero
  double factor;       ///< H = I - factor v v'
};

// Eight interleaved sums, then a fixed tree.
double dot(std::int64_t n, const double* x, const double* y) {
  double lane[8] = {};
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int l = 0; l < 8; ++l) lane[l] += x[i + l] * y[i + l];
  for (int l = 0; i < n; ++i, ++l) lane[l] += x[i] * y[i];
  return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

// a becomes the reflectors' vectors, row k that of reflector k; diagonal and off-diagonal are those of the tridiagonal
// form H_{n-3} .. H_0 A H_0 .. H_{n-3}.
std::vector<Reflector> tridiagonalise(std::int64_t n, double* a, double* diagonal, double* beside, ThreadPool& pool) {
  std::vector<Reflector> reflectors;
  std::vector<double> v(static_cast<std::size_t>(n)), p(static_cast<std::size_t>(n));
  for (std::int64_t k = 0; k < n; ++k) {
    double* const row = a + k * n;
    diagonal[k] = row[k];
    if (k + 1 == n) break;
    const std::int64_t first = k + 1, length = n - first;
    const double below = length > 1 ? dot(length - 1, row + first + 1, row + first + 1) : 0.0;
    if (!(below > 0)) {  // nothing to zero
      beside[k] = row[first];
      reflectors.push_back({first, 0});
      continue;
    }
    const double head = row[first], norm = std::sqrt(head * head + below), to = head > 0 ? -norm : norm;
    beside[k] = to;
    row[first] = head - to;
    const double factor = 2 / (row[first] * row[first] + below);
    reflectors.push_back({first, factor});
    std::copy_n(row + first, length, v.begin());
    pool.parallel_for(length, kRowsApart, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t i = begin; i < end; ++i)
        p[static_cast<std::size_t>(i)] = factor * dot(length, a + (first + i) * n + first, v.data());
    });
    const double half = factor / 2 * dot(length, p.data(), v.data());
    for (std::int64_t i = 0; i < length; ++i) p[static_cast<std::size_t>(i)] -= half * v[static_cast<std::size_t>(i)];
    pool.parallel_for(length, kRowsApart, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t i = begin; i < end; ++i) {
        double* const to_row = a + (first + i) * n + first;
        const double vi = v[static_cast<std::size_t>(i)], pi = p[static_cast<std::size_t>(i)];
        for (std::int64_t j = 0; j < length; ++j)
          to_row[j] -= vi * p[static_cast<std::size_t>(j)] + pi * v[static_cast<std::size_t>(j)];
      }
    });
  }
  return reflectors;
}

/// Of rows `row` and `row` + 1.
struct Rotation {
  std::int64_t row;
  double c, s;
};

// Many at once: a thread takes a few columns of z through all of them.
void rotate(std::int64_t n, std::vector<Rotation>& rotations, double* z, ThreadPool& pool) {
  pool.parallel_for(n, 64, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t from = begin; from < end; from += 64) {
      const std::int64_t width = std::min<std::int64_t>(64, end - from);
      for (const Rotation& turn : rotations) {
        double* const low = z + turn.row * n + from;
        double* const high = low + n;
        for (std::int64_t j = 0; j < width; ++j) {
          const double x = low[j], y = high[j];
          high[j] = turn.s * x + turn.c * y;
          low[j] = turn.c * x - turn.s * y;
        }
      }
    }
  });
  rotations.clear();
}

// QL steps on the tridiagonal matrix; the rotations are applied to z's rows. False where it does not converge.
bool diagonalise(std::int64_t n, double* d, double* e, double* z, ThreadPool& pool) {
  constexpr int kTries = 60;
  constexpr std::size_t kHeld = 1 << 16;
  std::vector<Rotation> rotations;
  for (std::int64_t l = 0; l < n; ++l) {
    for (int tries = 0;; ++tries) {
      std::int64_t m = l;
      for (; m + 1 < n; ++m)
        if (std::fabs(e[m]) <= std::numeric_limits<double>::epsilon() * (std::fabs(d[m]) + std::fabs(d[m + 1]))) break;
      if (m == l) break;
      if (tries == kTries) return false;
      const double mean = (d[l + 1] - d[l]) / (2 * e[l]), root = std::hypot(mean, 1.0);
      double g = d[m] - d[l] + e[l] / (mean + std::copysign(root, mean));
      double s = 1, c = 1, p = 0;
      std::int64_t i = m - 1;
      for (; i >= l; --i) {
        const double f = s * e[i], b = c * e[i], r = std::hypot(f, g);
        e[i + 1] = r;
        if (r == 0) {  // the matrix has come apart here
          d[i + 1] -= p;
          e[m] = 0;
          break;
        }
        s = f / r;
        c = g / r;
        g = d[i + 1] - p;
        const double t = (d[i] - g) * s + 2 * c * b;
        p = s * t;
        d[i + 1] = g + p;
        g = c * t - b;
        rotations.push_back({i, c, s});
      }
      if (i < l) {
        d[l] -= p;
        e[l] = g;
        e[m] = 0;
      }
      if (rotations.size() >= kHeld) rotate(n, rotations, z, pool);
    }
  }
  rotate(n, rotations, z, pool);
  return true;
}

}  // namespace

Eigen symmetric_eigen(std::int64_t n, std::vector<double>& a, std::int64_t count, ThreadPool& pool) {
  const auto size = static_cast<std::size_t>(n);
  std::vector<double> diagonal(size), beside(size), z(size * size);
  const std::vector<Reflector> reflectors = tridiagonalise(n, a.data(), diagonal.data(), beside.data(), pool);
  for (std::size_t i = 0; i < size; ++i) z[i * size + i] = 1;
  const bool converged = diagonalise(n, diagonal.data(), beside.data(), z.data(), pool);
  if (!converged || !std::all_of(diagonal.begin(), diagonal.end(), [](double d) { return std::isfinite(d); }))
    return {std::vector<double>(size, NAN), std::vector<double>(static_cast<std::size_t>(count * n), NAN)};
  Eigen eigen;
  std::vector<std::size_t> order(size);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t i, std::size_t j) { return diagonal[i] > diagonal[j]; });
  for (const std::size_t i : order) eigen.values.push_back(diagonal[i]);
  eigen.vectors.resize(static_cast<std::size_t>(count * n));
  pool.parallel_for(count, 4, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) {
      double* const x = eigen.vectors.data() + i * n;
      std::copy_n(z.data() + static_cast<std::int64_t>(order[static_cast<std::size_t>(i)]) * n, n, x);
      for (std::int64_t k = static_cast<std::int64_t>(reflectors.size()) - 1; k >= 0; --k) {
        const Reflector& r = reflectors[static_cast<std::size_t>(k)];
        if (r.factor == 0) continue;
        const double* const v = a.data() + k * n + r.first;
        const double along = r.factor * dot(n - r.first, v, x + r.first);
        for (std::int64_t j = 0; j < n - r.first; ++j) x[r.first + j] -= along * v[j];
      }
      const double* const largest =
          std::max_element(x, x + n, [](double p, double q) { return std::fabs(p) < std::fabs(q); });
      if (*largest < 0)
        for (std::int64_t j = 0; j < n; ++j) x[j] = -x[j];
    }
  });
  return eigen;
}

}  // namespace sparing::math
