#pragma once
// The plan's section on structure: what is taken out of the model, as JSON, in the recipe, from the command line, and
// what configuration it leaves.

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "formats/model_config.h"
#include "plan/plan.h"

namespace sparing {

nlohmann::ordered_json structure_to_json(const StructureSpec& spec);
/// Untrusted input: unknown fields are refused by name.
Result<StructureSpec> structure_from_json(const nlohmann::ordered_json& value);
/// What of it decides the output: texts by their hashes.
nlohmann::ordered_json structure_recipe(const StructureSpec& spec);

/// The configuration that is left. Errors: layers that the model has not, that are listed twice or out of order, that
/// keep more than they have or nothing; all layers dropped.
Result<ModelConfig> thinned_config(const ModelConfig& config, const std::vector<LayerStructure>& layers);

/// `--prune 'layers.*.mlp=1408'`, `'layers.2.attn=2'`, `'layers.7=0'`: what a pattern's places keep. Later ones win.
/// Layers come back ascending, without those that keep all. Errors: a pattern that matches no place, a count that is
/// none.
Result<std::vector<LayerStructure>> parse_prune(const std::vector<std::string>& texts, const ModelConfig& config);

}  // namespace sparing
