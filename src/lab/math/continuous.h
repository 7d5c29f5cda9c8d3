#pragma once
// The continuous part of a coded weight, whatever method coded it: scales, minima, super-scales, sparse values,
// low-rank factors in f16 and scales of those in integers. Codes, signs, integer zeros and tables stay. Parameters are
// plain f32; what is stored, and so what the weight decodes to, are the nearest f16.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "codecs/lowrank.h"
#include "lab/math/trained_codes.h"

namespace sparing::math {

class ContinuousWeight {
 public:
  /// Copies what it changes. weight: validated, deep. Terms of other codings than int_group, lut_group, csr, lowrank
  /// and sign_lowrank have no parameters here and stay as they are. Errors: the codecs'.
  static Result<ContinuousWeight> make(const CodedWeight& weight);

  std::int64_t size() const { return size_; }
  /// With the parameters set last; at first as given.
  const CodedWeight& weight() const { return weight_; }
  /// As stored, [size].
  std::vector<float> parameters() const;
  /// How far each parameter moves for the weights to change by about their own size, [size]: a scale's or a sparse
  /// value's magnitude, half of a group's span for its minimum, a component's root mean square for a factor's value. 0
  /// where there is nothing to move.
  std::vector<float> units() const;
  /// parameters [size], finite. Stores the nearest f16 within f16's range. Not while others read.
  void set(std::span<const float> parameters);

  /// Adds to sum [size] the derivatives of a loss by the parameters, given those by the effective matrix's rows
  /// [row, row + count): gradient [count, cols] (decode_effective_rows). For v = s (q - z): ds = sum of dv (q - z)
  /// over the group.
  void add_gradient(std::int64_t row, std::int64_t count, std::span<const float> gradient, std::span<float> sum) const;

  /// The codes of the first int_group term, for training as well; they change weight(). Nothing if there is none.
  std::optional<TrainedCodes> trained_codes();

 private:
  /// f16 values at blob + at + 2 * (panels' order, int_group.h), or one after another (csr).
  struct Section {
    std::uint64_t at = 0;
    std::int64_t per_row = 0;  ///< 0: the term has none
    std::int64_t first = 0;    ///< of its parameters
  };
  /// A factor of a low-rank term: its values in f16, or its scales, [rank, of a component].
  struct Factor {
    FactorSpec spec;
    FactorLayout layout;
    std::int64_t rank = 0, n = 0, first = 0;
    std::int64_t each() const { return spec.bits == 16 ? n : layout.groups; }
    std::uint64_t place(std::int64_t component, std::int64_t index) const;
  };
  struct Part {
    std::size_t term = 0;
    Section scales, minima;
    std::vector<Factor> factors = {};  ///< inner and outer
    std::byte* blob = nullptr;
  };
  struct Scratch;
  /// Calls f(section, row, index in the row, place of the f16, parameter's index) for every parameter.
  template <class F>
  void for_parameters(F f) const;
  void add_grouped(const Part& part, std::int64_t row, const float* gradient, std::span<float> sum,
                   Scratch& scratch) const;
  void add_sparse(const Part& part, std::int64_t row, const float* gradient, std::span<float> sum) const;
  void add_factors(const Part& part, std::int64_t row, const float* gradient, std::span<float> sum,
                   Scratch& scratch) const;

  CodedWeight weight_;
  std::vector<Part> parts_;
  std::int64_t size_ = 0;
};

}  // namespace sparing::math
