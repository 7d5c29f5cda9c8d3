#pragma once
// Weights that a grid serves badly, kept beside it one by one in f16 (after SpQR, arXiv:2306.03078).

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "lab/math/grid.h"
#include "lab/math/obq.h"

namespace sparing::math {

/// Places in a matrix, as csr has them: columns ascend within a row.
struct Outliers {
  std::vector<std::uint32_t> row_start;  ///< [rows + 1]
  std::vector<std::uint32_t> columns;
};

/// Those of the rows [first, first + count), as a matrix of their own.
Outliers rows_of(const Outliers& outliers, std::int64_t first, std::int64_t count);

/// The `count` weights without which their groups would be coded best: by the fall of the group's error, each weight's
/// square times its pivot (what it costs once later inputs have made up for it), when the group's range is fitted
/// without the weight and the weight itself is exact. group: inputs that share a range. count <= weights.
Outliers choose_outliers(std::span<const float> weight, std::int64_t rows, const Metric& metric, std::int64_t group,
                         int bits, std::int64_t count, ThreadPool& pool);

/// The weights with each outlier brought into the range of its group's others: what the grid is fitted to.
std::vector<float> without_outliers(std::span<const float> weight, std::int64_t cols, std::int64_t group,
                                    const Outliers& outliers);

/// A grid and its outliers: coding an outlier takes the nearest point and keeps the rest.
class OutlierGrid final : public Grid {
 public:
  /// places: null where there are none.
  OutlierGrid(IntGrid base, std::shared_ptr<const Outliers> places);

  std::int64_t group() const override { return base_.group(); }
  void fit(std::int64_t row, std::int64_t group, std::span<const float> values,
           std::span<const float> importance) override {
    base_.fit(row, group, values, importance);
  }
  float code(std::int64_t row, std::int64_t column, float value) override;

  IntGrid& base() { return base_; }
  const IntGrid& base() const { return base_; }
  /// Rests as stored, f16 bits, in the order of places.
  const std::vector<std::uint16_t>& rests() const { return rests_; }
  /// Codes every outlier anew as this weight [rows, cols] has it; the grid's other codes stay.
  void take(std::span<const float> weight);
  /// Values of a row, [cols]: grid and rests, as the codecs decode them.
  void decode_row(std::int64_t row, float* out) const;
  std::vector<float> decoded() const;
  /// What is left for the grid: weight less the rests, [rows, cols].
  std::vector<float> without_rests(std::span<const float> weight) const;
  /// As IntGrid has it; outliers must be in the same places of these rows.
  void copy_rows(const OutlierGrid& from, std::int64_t first, std::int64_t count, std::int64_t to);
  void copy_row(const OutlierGrid& from, std::int64_t row) { copy_rows(from, row, 1, row); }

 private:
  template <class F>
  void for_row(std::int64_t row, F f) const;  ///< f(index, column)

  IntGrid base_;
  std::shared_ptr<const Outliers> places_;
  std::vector<std::uint16_t> rests_;
  std::vector<bool> marked_;  ///< [rows, cols]; empty without outliers
};

}  // namespace sparing::math
