#pragma once
// Rounding grids: where weights may go. The second-order engine asks a Grid and knows nothing else about coding.

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "codecs/coded_weight.h"
#include "codecs/int_group.h"

namespace sparing::math {

class Grid {
 public:
  virtual ~Grid() = default;
  /// Inputs that share parameters; the engine fits whole groups.
  virtual std::int64_t group() const = 0;
  /// Chooses the parameters of one group of a row. importance weighs the squared errors; empty: all alike.
  /// Thread-safe for different rows, as are all members that take a row.
  virtual void fit(std::int64_t row, std::int64_t group, std::span<const float> values,
                   std::span<const float> importance) = 0;
  /// The nearest point to `value` for this weight, whose code is kept. `group` must have been fitted.
  virtual float code(std::int64_t row, std::int64_t column, float value) = 0;
};

enum class Clip {
  none,  ///< the grid spans the group's least and largest weight
  mse,   ///< the span with the least weighted squared error is searched
};

/// The grid of an int_group coding, with scales rounded as they will be stored.
class IntGrid final : public Grid {
 public:
  /// spec: zero is constant (2^(bits-1)), integer (zero_bits = bits) or a minimum; scales and minima in f16, or both
  /// coded, scales with offset 0 or one above all codes (which then count down from it, under a negative super-scale).
  IntGrid(const IntGroupSpec& spec, std::int64_t rows, std::int64_t cols, Clip clip);

  std::int64_t group() const override { return spec_.groups.group; }
  void fit(std::int64_t row, std::int64_t group, std::span<const float> values,
           std::span<const float> importance) override;
  float code(std::int64_t row, std::int64_t column, float value) override;

  /// Fits every group of a row at once: required where scales are coded, since groups share a super-scale.
  void fit_row(std::int64_t row, std::span<const float> values, std::span<const float> importance);

  std::int64_t rows() const { return rows_; }
  std::int64_t cols() const { return cols_; }
  std::int64_t groups() const { return groups_; }
  const IntGroupSpec& spec() const { return spec_; }
  /// What a group's codes mean: value = scale * code + offset.
  struct Line {
    float scale = 0, inverse = 0, offset = 0;
  };
  const Line& line(std::int64_t row, std::int64_t group) const { return lines_[index(row, group)]; }
  std::uint8_t code_at(std::int64_t row, std::int64_t column) const {
    return parts_.codes[static_cast<std::size_t>(row * cols_ + column)];
  }
  void set_code(std::int64_t row, std::int64_t column, std::uint8_t code) {
    parts_.codes[static_cast<std::size_t>(row * cols_ + column)] = code;
  }
  float value_at(std::int64_t row, std::int64_t column) const;
  /// The values of a row's codes, [cols], to the bit as the codec decodes them.
  void decode_row(std::int64_t row, float* out) const;

  /// Sets a group's scale (and, f16_min, its offset) to the nearest that can be stored, codes unchanged. Only for f16
  /// scales. False, and no change, if the scale would be zero or not finite.
  bool set_line(std::int64_t row, std::int64_t group, float scale, float offset);
  /// A group's scale and minimum (or zero) as coded; for coded scales only.
  struct LineCodes {
    int scale = 0, zero = 0;
    bool operator==(const LineCodes&) const = default;
  };
  LineCodes line_codes(std::int64_t row, std::int64_t group) const;
  /// What the group's line would be. False if codes are out of range, or the scale zero.
  bool line_for(std::int64_t row, std::int64_t group, LineCodes codes, Line& line) const;
  void set_line_codes(std::int64_t row, std::int64_t group, LineCodes codes);
  /// The super-scale or super-minimum of some groups of a row, as its f16 bits.
  enum class Super { scale, minimum };
  std::uint16_t super_bits(std::int64_t row, std::int64_t super, Super what) const;
  void set_super_bits(std::int64_t row, std::int64_t super, Super what, std::uint16_t bits);
  /// Takes whole rows (codes and parameters), [first, first + count), from another grid of the same coding to row `to`.
  void copy_rows(const IntGrid& from, std::int64_t first, std::int64_t count, std::int64_t to);
  void copy_row(const IntGrid& from, std::int64_t row) { copy_rows(from, row, 1, row); }

  /// Packs. Error if a scale or minimum does not fit in f16.
  Result<Term> pack() const;

 private:
  std::size_t index(std::int64_t row, std::int64_t group) const {
    return static_cast<std::size_t>(row * groups_ + group);
  }
  struct Choice {
    float scale = 0, offset = 0;
    int zero = 0;
  };
  Choice choose(std::span<const float> values, std::span<const float> importance) const;
  Choice choose_symmetric(std::span<const float> values, std::span<const float> importance) const;
  Choice choose_integer(std::span<const float> values, std::span<const float> importance) const;
  Choice choose_min(std::span<const float> values, std::span<const float> importance) const;
  int best_zero(std::span<const float> values, std::span<const float> importance, float scale, int around) const;
  void store(std::int64_t row, std::int64_t group, const Choice& choice);
  // grid_coded.cpp
  struct Units {
    float scale = 0, minimum = 0;  ///< what one step of a scale's, a minimum's code is worth
  };
  void fit_coded(std::int64_t row, std::span<const float> values, std::span<const float> importance);
  LineCodes choose_codes(std::span<const float> values, std::span<const float> importance, const Choice& wanted,
                         Units units, float& loss) const;
  Line line_of(Units units, LineCodes codes) const;
  Units units_of(std::int64_t row, std::int64_t super) const;
  int scale_steps(int code) const;
  std::span<const float> part_of(std::span<const float> row, std::int64_t group) const;

  IntGroupSpec spec_;
  std::int64_t rows_, cols_, groups_, supers_;
  Clip clip_;
  int top_;  ///< the largest code
  IntGroupParts parts_;
  std::vector<Line> lines_;
};

/// Rounds every weight to the nearest point of a grid fitted to each row. importance [cols] or empty.
void round_to_nearest(IntGrid& grid, std::span<const float> weight, std::span<const float> importance,
                      ThreadPool& pool);

}  // namespace sparing::math
