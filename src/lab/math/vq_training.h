#pragma once
// PV-tuning (arXiv:2405.14852) of a vq_additive coding by block reconstruction. P: books and scales move along their
// gradients, codes held. V: a buffer gathers what the gradient asks of the weights themselves (straight through the
// coding); the codes nearest to the buffered weights are sought, and the few vectors that come nearer by most take
// theirs. Were all that could to change, their moves would add up to far more than any of them was judged by.

#include <span>
#include <vector>

#include "lab/math/adam.h"
#include "lab/math/obq.h"
#include "lab/math/trainable.h"
#include "lab/math/vq_grid.h"

namespace sparing::math {

struct VqTrainingOptions {
  double weight_rate = 0;   ///< root mean square of the buffer's first step, as a share of the weights'; 0: codes stay
  double book_rate = 0;     ///< share of the books' root mean square that an entry moves in the first step
  double scale_rate = 0;    ///< share of itself that a scale moves in the first step
  double most_changes = 1;  ///< share of the vectors whose codes may change in a step; 1: no cap
  double forgets = 0;       ///< share of the buffer that is lost at every step
  int beam = 4;             ///< entries of a first book that are tried
};

class VqTraining final : public TrainableWeight {
 public:
  /// start, frozen. metric: of the site's inputs; weighs the directions of a vector against each other.
  VqTraining(VqGrid start, const Metric& metric, const VqTrainingOptions& options);

  void values(std::span<float> out, ThreadPool& pool) const override;
  void step(std::span<const float> gradient, double left, ThreadPool& pool) override;
  void keep() override { kept_ = grid_; }
  void recall() override { grid_ = kept_; }
  Result<CodedWeight> code() const override;

  const VqGrid& grid() const { return grid_; }
  /// Vectors whose codes the last step changed.
  std::int64_t changed() const { return changed_; }

 private:
  void move_weights(std::span<const float> gradient, double rate, ThreadPool& pool);
  void move_books_and_scales(std::span<const float> gradient, double left, ThreadPool& pool);
  void change_codes(ThreadPool& pool);

  VqGrid grid_, kept_;
  VqTrainingOptions options_;
  std::vector<std::vector<float>> factors_;  ///< of the metric, on each vector's inputs
  std::vector<float> inverse_curvature_;     ///< [cols]
  std::vector<float> moved_;                 ///< [rows, cols]: the buffer, less the values
  AdamDirections of_books_, of_scales_;
  std::int64_t changed_ = 0;
};

}  // namespace sparing::math
