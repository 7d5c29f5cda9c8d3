#include "plan/structure_spec.h"

#include <fnmatch.h>

#include <charconv>

#include "plan/plan_fields.h"

namespace sparing {
namespace {

using Json = nlohmann::ordered_json;

Json layers_to_json(const std::vector<LayerStructure>& layers) {
  Json list = Json::array();
  for (const LayerStructure& layer : layers) {
    Json entry = {{"layer", layer.layer}};
    if (layer.dropped) entry["drop"] = true;
    if (layer.ffn >= 0) entry["ffn"] = layer.ffn;
    if (layer.kv_heads >= 0) entry["kv_heads"] = layer.kv_heads;
    list.push_back(std::move(entry));
  }
  return list;
}

Error out_of_range(std::int64_t layer, const std::string& what, std::int64_t kept, std::int64_t most) {
  return input_error("[structure] layers." + std::to_string(layer) + ": " + what + " " + std::to_string(kept) +
                     ": keep 1 to " + std::to_string(most));
}

bool matches(const std::string& pattern, const std::string& place) {
  return ::fnmatch(pattern.c_str(), place.c_str(), 0) == 0;
}

}  // namespace

Json structure_to_json(const StructureSpec& spec) {
  Json json = {{"method", spec.method}, {"params", params_object(spec.params)}};
  json.update(text_spec_to_json(spec.text));
  json["layers"] = layers_to_json(spec.layers);
  return json;
}

Json structure_recipe(const StructureSpec& spec) {
  Json json = {{"method", spec.method}, {"params", params_object(spec.params)}};
  json.update(text_recipe(spec.text));
  json["layers"] = layers_to_json(spec.layers);
  return json;
}

Result<StructureSpec> structure_from_json(const Json& value) {
  const std::string where = "structure";
  SPARING_CHECK_OK(check_fields(value, where, {"method", "tokens", "length", "layers"}, {"params", "self", "files"}));
  StructureSpec spec;
  if (!value["method"].is_string()) return plan_error(where, "method is " + shown(value["method"]) + ": give a name");
  spec.method = value["method"].get<std::string>();
  if (value.contains("params")) {
    SPARING_TRY(spec.params, params_of(value["params"], where + " params"));
  }
  SPARING_TRY(spec.text, text_spec_of(value, where));
  if (spec.text.tokens == 0) return plan_error("structure tokens", "0: say how many to look at");
  if (!value["layers"].is_array()) return plan_error(where, "layers is " + shown(value["layers"]) + ": give a list");
  for (const Json& entry : value["layers"]) {
    SPARING_CHECK_OK(check_fields(entry, "structure layer", {"layer"}, {"ffn", "kv_heads", "drop"}));
    LayerStructure layer;
    SPARING_TRY(layer.layer, tokens_of(entry["layer"], "structure layer"));
    const std::string named = "structure layer " + std::to_string(layer.layer);
    if (entry.contains("ffn")) {
      SPARING_TRY(layer.ffn, tokens_of(entry["ffn"], named + " ffn"));
    }
    if (entry.contains("kv_heads")) {
      SPARING_TRY(layer.kv_heads, tokens_of(entry["kv_heads"], named + " kv_heads"));
    }
    if (entry.contains("drop")) {
      if (!entry["drop"].is_boolean()) return plan_error(named, "drop is " + shown(entry["drop"]) + ": true or false");
      layer.dropped = entry["drop"].get<bool>();
    }
    spec.layers.push_back(layer);
  }
  if (spec.layers.empty()) return plan_error("structure layers", "none: leave the section out");
  return spec;
}

Result<ModelConfig> thinned_config(const ModelConfig& config, const std::vector<LayerStructure>& layers) {
  ModelConfig left = config;
  left.layers.clear();
  std::size_t next = 0;
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    LayerConfig shape = config.layers[i];
    if (next < layers.size() && layers[next].layer == static_cast<std::int64_t>(i)) {
      const LayerStructure& change = layers[next++];
      if (change.dropped) continue;
      if (change.ffn >= 0) {
        if (change.ffn < 1 || change.ffn > shape.ffn)
          return out_of_range(change.layer, "channels", change.ffn, shape.ffn);
        shape.ffn = static_cast<std::int32_t>(change.ffn);
      }
      if (change.kv_heads >= 0) {
        if (change.kv_heads < 1 || change.kv_heads > shape.kv_heads)
          return out_of_range(change.layer, "key-value heads", change.kv_heads, shape.kv_heads);
        shape.heads = shape.heads / shape.kv_heads * static_cast<std::int32_t>(change.kv_heads);
        shape.kv_heads = static_cast<std::int32_t>(change.kv_heads);
      }
    }
    left.layers.push_back(shape);
  }
  if (next < layers.size()) {
    return input_error("[structure] layer " + std::to_string(layers[next].layer) + ": the model has " +
                       std::to_string(config.layers.size()) + ", and each is listed once, ascending");
  }
  if (left.layers.empty()) return input_error("[structure] every layer is dropped: keep one");
  return left;
}

Result<std::vector<LayerStructure>> parse_prune(const std::vector<std::string>& texts, const ModelConfig& config) {
  std::vector<LayerStructure> all(config.layers.size());
  for (const std::string& text : texts) {
    const auto refused = [&](const std::string& why) {
      return usage_error("[compress] --prune '" + text + "': " + why +
                         "; write PLACE=KEPT, as in 'layers.*.mlp=1408', 'layers.2.attn=2' or 'layers.7=0'");
    };
    const auto equals = text.rfind('=');
    if (equals == std::string::npos || equals == 0) return refused("no count");
    const std::string pattern = text.substr(0, equals), count = text.substr(equals + 1);
    std::int64_t kept = 0;
    const auto read = std::from_chars(count.data(), count.data() + count.size(), kept);
    if (count.empty() || read.ec != std::errc() || read.ptr != count.data() + count.size() || kept < 0)
      return refused("'" + count + "' is no count");
    bool matched = false;
    for (std::size_t i = 0; i < all.size(); ++i) {
      const std::string layer = "layers." + std::to_string(i);
      LayerStructure& change = all[i];
      // A bare * stands for layers, not for their parts.
      if (matches(pattern, layer + ".mlp") && pattern.ends_with("mlp")) {
        change.ffn = kept;
      } else if (matches(pattern, layer + ".attn") && pattern.ends_with("attn")) {
        change.kv_heads = kept;
      } else if (matches(pattern, layer)) {
        if (kept != 0) return refused("a layer can only be dropped, with =0");
        change.dropped = true;
      } else {
        continue;
      }
      matched = true;
    }
    if (!matched) return refused("no place of this model is called so (layers.N, layers.N.mlp, layers.N.attn)");
  }
  std::vector<LayerStructure> changed;
  for (std::size_t i = 0; i < all.size(); ++i) {
    LayerStructure& change = all[i];
    change.layer = static_cast<std::int64_t>(i);
    if (change.dropped) {
      changed.push_back({change.layer, -1, -1, true});
      continue;
    }
    if (change.ffn == config.layers[i].ffn) change.ffn = -1;
    if (change.kv_heads == config.layers[i].kv_heads) change.kv_heads = -1;
    if (change.ffn >= 0 || change.kv_heads >= 0) changed.push_back(change);
  }
  SPARING_CHECK_OK(thinned_config(config, changed));
  return changed;
}

}  // namespace sparing
