#pragma once
// The grid of a lut_group coding with a given table: value = scale * table[code], one f16 scale a group.

#include "lab/math/grid.h"

namespace sparing::math {

class TableGrid final : public Grid {
 public:
  /// spec: scales in f16; the table ascends (entries may repeat) and has a zero within.
  TableGrid(const LutGroupSpec& spec, std::int64_t rows, std::int64_t cols);

  std::int64_t group() const override { return spec_.groups.group; }
  /// Searches the scale, of either sign, with the least weighted squared error.
  void fit(std::int64_t row, std::int64_t group, std::span<const float> values,
           std::span<const float> importance) override;
  float code(std::int64_t row, std::int64_t column, float value) override;

  /// Fits every group of every row and codes the weights, [rows, cols].
  void round(std::span<const float> weight, ThreadPool& pool);
  /// Squared error of each value on the grid of one group with this scale, summed.
  double error(std::span<const float> values, std::span<const float> importance, float scale) const;
  std::vector<float> decoded() const;
  Result<Term> pack() const;

 private:
  std::size_t nearest(float value) const;

  LutGroupSpec spec_;
  std::int64_t rows_, cols_, groups_;
  std::vector<float> middles_;  ///< between neighbouring entries
  IntGroupParts parts_;
  std::vector<float> scales_;  ///< [rows, groups]
};

}  // namespace sparing::math
