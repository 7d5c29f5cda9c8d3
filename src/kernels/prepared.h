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
  std::vector<std::variant<IntWeight, DenseWeight, CsrWeight, DecodedWeight, LowRankWeight, TernaryWeight, SignWeight>>
      terms;
  bool needs_q8 = false, needs_q16 = false, needs_f32 = false;
  std::int64_t components = 0;  ///< of all low-rank terms
  std::vector<std::vector<std::uint8_t>> tables;
  std::vector<std::vector<Segment>> segment_lists;
  std::vector<std::vector<std::int32_t>> segment_starts;

  void cut_segments(IntWeight& w);
  Status add(const Term& term, Precision precision);
  Status add_vq(const Term& term, IntWeight& w);
};

}  // namespace sparing::kernels
