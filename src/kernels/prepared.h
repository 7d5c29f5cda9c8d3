#pragma once
// Linear's inside, shared by preparing and multiplying.

#include <variant>
#include <vector>

#include "kernels/kernel_set.h"
#include "kernels/linear.h"

namespace sparing::kernels {

/// A coded weight with f32 activations: decoded a panel at a time, then multiplied as dense f32.
struct DecodedWeight {
  const Term* term;
  std::int64_t rows, cols;
  IntGroupLayout layout;  ///< int_group, lut_group
};

struct LowRankWeight {
  FactorWeight inner, outer;
};

struct Linear::Impl {
  CodedWeight weight;
  const KernelSet* kernels = nullptr;
  std::vector<std::variant<IntWeight, DenseWeight, CsrWeight, DecodedWeight, LowRankWeight, TernaryWeight, SignWeight,
                           RowsWeight>>
      terms;
  bool needs_q8 = false, needs_q16 = false, needs_f32 = false;
  std::int64_t components = 0;  ///< of all low-rank terms
  std::int64_t row_panels = 0;  ///< of all int_rows terms
  std::size_t last_whole = 0;   ///< the last term that is no int_rows: the bias comes with it
  std::vector<std::vector<std::uint8_t>> tables;
  std::vector<std::vector<Segment>> segment_lists;
  std::vector<std::vector<std::int32_t>> segment_starts;

  void cut_segments(IntWeight& w);
  Status add(const Term& term, Precision precision);
  Status add_vq(const Term& term, IntWeight& w);
  Status add_rows(const Term& term, Precision precision);
};

}  // namespace sparing::kernels
