#pragma once
// Training of a lut_group coding with a table of its own by differentiable k-means (eDKM, arXiv:2309.00964): gradients
// go through the soft assignment to the weights behind the codes, weights move, and the table follows them.

#include <span>
#include <vector>

#include "lab/math/adam.h"
#include "lab/math/soft_kmeans.h"
#include "lab/math/trainable.h"
#include "lab/math/vq_grid.h"

namespace sparing::math {

struct TableTrainingOptions {
  double rate = 0;           ///< of the table's mean gap, root mean square: what a weight moves in the first step
  double scale_rate = 0;     ///< share of itself that a scale moves in the first step
  double temperature = 0.1;  ///< of the soft assignment, in mean squared gaps of the table
  int iterations = 1;        ///< of soft k-means a step
};

/// What is measured and stored takes each weight to the nearest entry; only the gradient is the soft map's.
class TableTraining final : public TrainableWeight {
 public:
  /// start: vectors of one input, frozen. weight [rows, cols]: what it codes; each is moved, by as little as may be, to
  /// at most a quarter of the way from its code's entry to the next. curvature [cols], positive: each input's second
  /// moment.
  TableTraining(VqGrid start, std::span<const float> weight, std::span<const float> curvature,
                const TableTrainingOptions& options);

  void values(std::span<float> out, ThreadPool& pool) const override;
  void step(std::span<const float> gradient, double left, ThreadPool& pool) override;
  void keep() override { kept_ = grid_; }
  void recall() override { grid_ = kept_; }
  Result<CodedWeight> code() const override;

  const VqGrid& grid() const { return grid_; }
  /// By one step's soft k-means.
  SavedBytes saved() const;

 private:
  SoftKMeans soften(ThreadPool& pool) const;
  void assign(ThreadPool& pool);

  VqGrid grid_, kept_;
  TableTrainingOptions options_;
  std::vector<float> weights_, curvature_;
  std::vector<float> offsets_;  ///< of the table over its soft means at the start, so that it only moves as they do
  AdamDirections of_scales_;
};

}  // namespace sparing::math
