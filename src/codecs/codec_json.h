#pragma once
#include <nlohmann/json_fwd.hpp>

#include "codecs/coded_weight.h"

namespace sparing {

/// {"codec": "int_group", "version": 1, "bits": 4, ...}. Reading refuses unknown codecs, versions and fields by name.
nlohmann::json spec_to_json(const CodecSpec& spec);
Result<CodecSpec> spec_from_json(const nlohmann::json& json);
nlohmann::json transform_to_json(const Transform& transform);
Result<Transform> transform_from_json(const nlohmann::json& json);  ///< the blob is left empty

}  // namespace sparing
