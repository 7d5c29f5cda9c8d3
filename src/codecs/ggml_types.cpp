#include <algorithm>
#include <iterator>

#include "codecs/ggml.h"
#include "codecs/ggml_blocks.h"

namespace sparing {
namespace {

constexpr GgmlTraits kTraits[] = {
    {GgmlType::f32, "F32", 1, 4},         {GgmlType::f16, "F16", 1, 2},           {GgmlType::q4_0, "Q4_0", 32, 18},
    {GgmlType::q4_1, "Q4_1", 32, 20},     {GgmlType::q5_0, "Q5_0", 32, 22},       {GgmlType::q5_1, "Q5_1", 32, 24},
    {GgmlType::q8_0, "Q8_0", 32, 34},     {GgmlType::q2_k, "Q2_K", 256, 84},      {GgmlType::q3_k, "Q3_K", 256, 110},
    {GgmlType::q4_k, "Q4_K", 256, 144},   {GgmlType::q5_k, "Q5_K", 256, 176},     {GgmlType::q6_k, "Q6_K", 256, 210},
    {GgmlType::iq4_nl, "IQ4_NL", 32, 18}, {GgmlType::iq4_xs, "IQ4_XS", 256, 136}, {GgmlType::bf16, "BF16", 1, 2},
};

constexpr std::string_view kNames[] = {
    "F32",        "F16",        "Q4_0",       "Q4_1",  "Q4_2",     "Q4_3",     "Q5_0",     "Q5_1",    "Q8_0",
    "Q8_1",       "Q2_K",       "Q3_K",       "Q4_K",  "Q5_K",     "Q6_K",     "Q8_K",     "IQ2_XXS", "IQ2_XS",
    "IQ3_XXS",    "IQ1_S",      "IQ4_NL",     "IQ3_S", "IQ2_S",    "IQ4_XS",   "I8",       "I16",     "I32",
    "I64",        "F64",        "IQ1_M",      "BF16",  "Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8", "TQ1_0",   "TQ2_0",
    "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4", "NVFP4",    "Q1_0",
};

}  // namespace

const GgmlTraits* ggml_traits(std::uint32_t type_id) {
  const auto found = std::find_if(std::begin(kTraits), std::end(kTraits),
                                  [&](const GgmlTraits& t) { return static_cast<std::uint32_t>(t.type) == type_id; });
  return found == std::end(kTraits) ? nullptr : found;
}

std::string ggml_type_name(std::uint32_t type_id) {
  if (type_id < std::size(kNames)) return std::string(kNames[type_id]);
  return "type " + std::to_string(type_id);
}

std::optional<GgmlType> ggml_exact_type(const CodecSpec& spec, std::int64_t cols) {
  for (const GgmlTraits& t : kTraits)
    if (cols % t.block_weights == 0 && ggml_codec(t.type) == spec) return t.type;
  return std::nullopt;
}

}  // namespace sparing
