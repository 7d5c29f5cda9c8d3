#pragma once
// A vq_additive coding while it is being made: codes, books and scales as numbers that move freely (masters), and what
// of them would be stored (codecs/vq_additive.h).

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "codecs/vq_additive.h"

namespace sparing::math {

class VqGrid {
 public:
  /// spec: scales f16, groups of whole vectors. All zeros at first.
  VqGrid(const VqAdditiveSpec& spec, std::int64_t rows, std::int64_t cols);

  const VqAdditiveSpec& spec() const { return spec_; }
  std::int64_t rows() const { return rows_; }
  std::int64_t cols() const { return cols_; }
  std::int64_t vectors() const { return vectors_; }  ///< of a row
  std::int64_t groups() const { return groups_; }    ///< of a row
  std::int64_t entries() const { return std::int64_t{1} << spec_.bits; }
  /// Inputs of a vector: spec().vector but for the last of a row.
  std::int64_t width(std::int64_t vector) const {
    return vector + 1 < vectors_ ? spec_.vector : cols_ - vector * spec_.vector;
  }
  std::int64_t group_of(std::int64_t vector) const { return vector * spec_.vector / spec_.groups.group; }

  /// A vector's codes, [books].
  std::uint8_t* codes(std::int64_t row, std::int64_t vector) {
    return codes_.data() + (row * vectors_ + vector) * spec_.books;
  }
  const std::uint8_t* codes(std::int64_t row, std::int64_t vector) const {
    return codes_.data() + (row * vectors_ + vector) * spec_.books;
  }
  /// Masters: books [books, entries, vector] in units of the stored bytes, scales [rows, groups] in weights a unit.
  std::span<float> books() { return books_; }
  std::span<float> scales() { return scales_; }

  /// Rounds the masters to what is stored. Where the books' sums would leave a byte, books shrink and scales grow
  /// first: returns the factor that books were multiplied by, 1 where they were not.
  float freeze();
  /// Spreads the books over most of a byte's range, then freezes. Books of zeros stay.
  float normalise();

  /// As stored. All that follows speaks of the state that was frozen last and the codes as they are.
  const float* entry(std::int64_t book, std::int64_t code) const {
    return stored_books_.data() + (book * entries() + code) * spec_.vector;
  }
  float scale(std::int64_t row, std::int64_t group) const {
    return stored_scales_[static_cast<std::size_t>(row * groups_ + group)];
  }
  /// A vector's sum of entries, [width].
  void sum(std::int64_t row, std::int64_t vector, float* out) const;
  /// Values, [width] and [cols], to the bit as the codec decodes them.
  void decode(std::int64_t row, std::int64_t vector, float* out) const;
  void decode_row(std::int64_t row, float* out) const;
  /// Error if a scale does not fit f16.
  Result<Term> pack() const;

 private:
  float excess() const;
  void round();

  VqAdditiveSpec spec_;
  std::int64_t rows_, cols_, vectors_, groups_;
  std::vector<std::uint8_t> codes_;
  std::vector<float> books_, scales_, stored_books_, stored_scales_;
};

/// The values of all codes, [rows, cols].
std::vector<float> decoded_values(const VqGrid& grid);

}  // namespace sparing::math
