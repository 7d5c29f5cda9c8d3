#pragma once
// Learned rounding on a uniform grid (after SignRound, arXiv:2309.05516): every weight has a continuous place in units
// of codes, whose rounding is its code. Gradients pass straight through the rounding and move the places, and each
// group's scale (and minimum, where stored) by small factors.

#include <span>
#include <vector>

#include "lab/math/grid.h"
#include "lab/math/trainable.h"

namespace sparing::math {

struct LearnedRoundingOptions {
  enum class Moves {
    /// As the gradient over the curvature of its input, in units of the row's root mean square; places start at the
    /// codes. Few weights move far at a time: for starts that are near an optimum.
    size,
    /// All by the same amount; places start where the weights lie on the grid. SignRound's, for rounding's codes.
    sign,
  };
  Moves moves = Moves::size;
  double rate = 0;        ///< codes that a place moves in the first step (size: root mean square of a row)
  double scale_rate = 0;  ///< share of itself that a scale (of the span: a minimum) moves in the first step
};

/// Derivatives of the loss by what decides one group's values, given those by the values themselves.
struct GroupGradient {
  double scale = 0;   ///< by the scale, codes and zero fixed
  double offset = 0;  ///< by the minimum; f16_min only
};
/// gradient [rows, cols].
GroupGradient group_gradient(const IntGrid& grid, std::int64_t row, std::int64_t group,
                             std::span<const float> gradient);

class LearnedRounding final : public TrainableWeight {
 public:
  /// start: the grid with the codes to start from. weight [rows, cols]: what it codes. curvature [cols], positive: each
  /// input's second moment.
  LearnedRounding(IntGrid start, std::span<const float> weight, std::span<const float> curvature,
                  const LearnedRoundingOptions& options);

  void values(std::span<float> out, ThreadPool& pool) const override;
  void step(std::span<const float> gradient, double left, ThreadPool& pool) override;
  void keep() override { kept_ = grid_; }
  void recall() override { grid_ = kept_; }
  Result<CodedWeight> code() const override;
  const IntGrid& grid() const { return grid_; }

 private:
  /// What a gradient of 1 moves a place of this row by, before its input's curvature and its group's scale divide it.
  float unit_of(std::int64_t row, std::span<const float> gradient, float rate) const;
  void step_places(std::int64_t row, std::span<const float> gradient, float rate);
  void step_scales(std::int64_t row, std::span<const float> gradient, float left);

  IntGrid grid_, kept_;
  LearnedRoundingOptions options_;
  bool scales_;  ///< whether scales can be trained: coded ones are not
  float top_;    ///< the largest code
  std::vector<float> inverse_curvature_, places_;
  /// Scales and minima as trained, before they are rounded to f16, and the size of their steps. [rows, groups]
  std::vector<float> scale_, offset_, scale_unit_;
};

}  // namespace sparing::math
