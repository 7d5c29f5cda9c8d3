#pragma once
// The codes of an int_group, trained end to end: each weight has a place in units of codes whose rounding is its code.
// Gradients pass straight through the rounding (arXiv:1308.3432) and move the places by sizes that the mean squares of
// the gradient's rows and columns make alike, as Adafactor's (arXiv:1804.04235).

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "codecs/coded_weight.h"
#include "codecs/int_group.h"

namespace sparing::math {

class TrainedCodes {
 public:
  /// Rows that one call may be given: panels are written whole.
  static constexpr std::int64_t kRows = kPanelRows;

  /// Of the first int_group term, whose blob may be written at `blob`; nothing if there is none.
  static std::optional<TrainedCodes> make(const CodedWeight& weight, std::size_t term, std::byte* blob);

  std::int64_t rows() const { return rows_; }
  std::int64_t cols() const { return cols_; }
  std::size_t term() const { return term_; }

  /// Places begin at the codes, or as far from there as their codes allow towards what is coded. missing [count, cols]
  /// of rows [row, row + count): that, less what it decodes to, in the term's coordinates.
  void start_towards(std::int64_t row, std::int64_t count, std::span<const float> missing);

  /// A step: see() the whole gradient [count, cols] in ascending panels, average(), then move() all panels, in any
  /// order. Gradients are of the loss by the term's values, up to one factor.
  void see(std::int64_t row, std::int64_t count, std::span<const float> gradient);
  void average();
  /// Moves the places against the gradient by `rate` codes in root mean square, and writes the codes.
  void move(std::int64_t row, std::int64_t count, std::span<const float> gradient, float rate);

  /// For keeping and resuming: all that later steps depend on, codes included.
  void append_state(std::string& state) const;
  std::size_t state_size() const;
  /// state begins with what append_state() gave.
  void take_state(std::string_view state);
  /// The codes alone, and back.
  void append_codes(std::string& codes) const;
  std::size_t codes_size() const { return static_cast<std::size_t>(layout_.scales - layout_.codes); }
  void take_codes(std::string_view codes);

 private:
  TrainedCodes() = default;
  float scale_of(std::int64_t row, std::int64_t group) const {
    return group_values(spec_, layout_, blob_, row, group).scale;
  }

  IntGroupSpec spec_;
  IntGroupLayout layout_{};
  std::byte* blob_ = nullptr;
  std::size_t term_ = 0;
  std::int64_t rows_ = 0, cols_ = 0, steps_ = 0;
  std::vector<std::int16_t> offsets_;              ///< [rows, cols]: place less code, in 65536ths
  std::vector<float> row_mean_, column_mean_;      ///< running mean squares
  std::vector<float> row_square_, column_square_;  ///< of the gradient being seen
  std::vector<float> row_unit_, column_unit_;      ///< a gradient's move is their product with it
};

}  // namespace sparing::math
