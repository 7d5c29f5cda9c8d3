#pragma once
// Making a vq_additive coding in the metric H of a site's inputs (obq.h): books by weighted k-means, codes by error
// feedback a vector at a time, then books, scales and codes in turn, each step where it lowers the loss
// tr((W - W') H (W - W')'). After AQLM (arXiv:2401.06118) and GPTVQ (arXiv:2402.15319).

#include "lab/math/obq.h"
#include "lab/math/vq_grid.h"

namespace sparing::math {

struct VqStart {
  std::int64_t iterations = 12;      ///< of k-means
  std::int64_t most_points = 32768;  ///< vectors that books are fitted to, drawn evenly
  std::uint64_t seed = 0;
};

/// Scales: each group's root mean square, weighted by importance [cols] (positive). Books: k-means of the vectors over
/// their scales, each coordinate weighted; a second book is fitted to what the first leaves. Codes: the nearest, each
/// vector for itself.
VqGrid start_vq(std::span<const float> weight, std::int64_t rows, std::int64_t cols, const VqAdditiveSpec& spec,
                std::span<const float> importance, const VqStart& options, ThreadPool& pool);

/// Codes vector after vector in the metric's order; those still to come make up for the errors so far, as in
/// code_with_feedback, and each takes the codes of least loss given that. The metric's order keeps vectors together
/// (MetricOptions::run). `decoded` [rows, cols] receives the values.
void code_vq_with_feedback(std::span<const float> weight, std::int64_t rows, const Metric& metric, int beam,
                           VqGrid& grid, std::span<float> decoded, ThreadPool& pool);

/// Codes one vector at a time, all others held, while that lowers a row's loss; at most `sweeps` times over.
void descend_vq(std::span<const float> weight, std::int64_t rows, const Metric& metric, int sweeps, int beam,
                VqGrid& grid, std::span<float> decoded, ThreadPool& pool);

/// Books by `iterations` of preconditioned conjugate gradients, codes and scales held. True if the loss fell once the
/// books were rounded; else nothing changed.
bool refit_books(std::span<const float> weight, std::int64_t rows, const Metric& metric, int iterations, VqGrid& grid,
                 std::span<float> decoded, ThreadPool& pool);
/// Each row's scales likewise (exact where a row has one); rows whose loss would rise keep theirs. Returns how many
/// changed.
std::int64_t refit_vq_scales(std::span<const float> weight, std::int64_t rows, const Metric& metric, int iterations,
                             VqGrid& grid, std::span<float> decoded, ThreadPool& pool);

struct VqCodingOptions {
  bool feedback = true;     ///< false: the start alone, each vector's nearest
  std::int64_t refine = 2;  ///< rounds of new codes, books, scales and coordinate descent
  int beam = 4;             ///< entries of the first of two books that are tried
  std::uint64_t seed = 0;
};
/// All of the above: a coding of weight [rows, metric.cols], its values in `decoded`.
VqGrid code_vq(std::span<const float> weight, std::int64_t rows, const VqAdditiveSpec& spec, const Metric& metric,
               const VqCodingOptions& options, std::vector<float>& decoded, ThreadPool& pool);

/// Lower triangles L [width, width] of H = L L' on each vector's inputs, one after another.
std::vector<std::vector<float>> vector_factors(const Metric& metric, const VqGrid& grid);

}  // namespace sparing::math
