#pragma once
// quantization_config of GPTQ, AWQ and compressed-tensors directories: how their weights are packed.

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace sparing {

enum class HfPacking : std::uint8_t {
  gptq,        ///< qweight [inputs * bits / 32, outputs], qzeros, scales, g_idx (arXiv:2210.17323)
  awq,         ///< qweight [inputs, outputs / 8], qzeros, scales; the "gemm" layout (arXiv:2306.00978)
  compressed,  ///< weight_packed [outputs, inputs * bits / 32], weight_scale, weight_zero_point, weight_g_idx
};

struct HfQuantization {
  HfPacking packing = HfPacking::gptq;
  std::int32_t bits = 4;
  std::int32_t group = 0;       ///< inputs per scale; 0: the whole row
  bool zeros_less_one = false;  ///< GPTQ's first format stores each zero less one
  bool symmetric = false;       ///< compressed: no zeros are stored
};

/// Whether `method` (quant_method) is one that read_hf_quantization reads.
bool is_packed_method(std::string_view method);
/// Nothing where there is no quantization_config, or Sparing's own. Refuses other methods, layouts and widths by name.
/// compressed-tensors: the one weight scheme that all groups share. `where` begins the messages.
Result<std::optional<HfQuantization>> read_hf_quantization(const nlohmann::json& config, const std::string& where);

}  // namespace sparing
