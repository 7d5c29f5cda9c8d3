#include "formats/hf_quantization.h"

#include "formats/json.h"

namespace sparing {
namespace {

using nlohmann::json;

Error refuse(const JsonFields& fields, const std::string& what) {
  return input_error(fields.where() + ": " + what + " is not read: use the original model");
}

Status read_group(const JsonFields& fields, const char* key, std::int64_t fallback, HfQuantization& q) {
  SPARING_TRY(const auto group, fields.integer(key, fallback, -1, 1 << 20));
  if (group == 0) return fields.wrong(key, "-1 or a positive number");
  q.group = group < 0 ? 0 : static_cast<std::int32_t>(group);
  return {};
}

Result<HfQuantization> read_gptq(const JsonFields& fields) {
  HfQuantization q;
  q.packing = HfPacking::gptq;
  SPARING_TRY(const auto bits, fields.integer("bits", {}));
  if (bits != 2 && bits != 3 && bits != 4 && bits != 8) return fields.wrong("bits", "2, 3, 4 or 8");
  q.bits = static_cast<std::int32_t>(bits);
  SPARING_CHECK_OK(read_group(fields, "group_size", -1, q));
  SPARING_TRY(const std::string format, fields.string("checkpoint_format", "gptq"));
  if (format != "gptq" && format != "gptq_v2") return refuse(fields, "checkpoint_format " + shown(format));
  q.zeros_less_one = format == "gptq";
  if (fields.has("dynamic") && !fields.at("dynamic").empty()) return refuse(fields, "dynamic (rules by layer)");
  return q;
}

Result<HfQuantization> read_awq(const JsonFields& fields) {
  HfQuantization q;
  q.packing = HfPacking::awq;
  SPARING_TRY(const auto bits, fields.integer("bits", 4));
  SPARING_TRY(const auto w_bit, fields.integer("w_bit", bits));
  if (w_bit != 4) return fields.wrong("bits", "4");
  SPARING_CHECK_OK(read_group(fields, fields.has("q_group_size") ? "q_group_size" : "group_size", 128, q));
  SPARING_TRY(std::string version, fields.string("version", "gemm"));
  for (char& c : version) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  if (version != "gemm") return refuse(fields, "AWQ's version " + shown(version));
  SPARING_TRY(const bool zeros, fields.boolean("zero_point", true));
  if (!zeros) return refuse(fields, "AWQ without zero points");
  return q;
}

Result<HfQuantization> read_scheme(const JsonFields& weights) {
  HfQuantization q;
  q.packing = HfPacking::compressed;
  SPARING_TRY(const std::string type, weights.string("type", "int"));
  if (type != "int") return refuse(weights, "type " + shown(type));
  SPARING_TRY(const auto bits, weights.integer("num_bits", {}, 2, 8));
  q.bits = static_cast<std::int32_t>(bits);
  SPARING_TRY(q.symmetric, weights.boolean("symmetric", true));
  SPARING_TRY(const std::string strategy, weights.string("strategy", weights.has("group_size") ? "group" : "channel"));
  if (strategy == "group") {
    SPARING_CHECK_OK(read_group(weights, "group_size", -1, q));
  } else if (strategy != "channel") {
    return refuse(weights, "strategy " + shown(strategy));
  }
  return q;
}

bool same(const HfQuantization& a, const HfQuantization& b) {
  return a.bits == b.bits && a.group == b.group && a.symmetric == b.symmetric;
}

Result<HfQuantization> read_compressed(const JsonFields& fields) {
  SPARING_TRY(const std::string format, fields.string("format", "pack-quantized"));
  if (format != "pack-quantized") return refuse(fields, "compressed-tensors' format " + shown(format));
  const json& groups = fields.at("config_groups");
  if (!groups.is_object() || groups.empty()) return fields.wrong("config_groups", "an object of one group or more");
  std::optional<HfQuantization> first;
  for (const auto& [name, group] : groups.items()) {
    const std::string where = fields.where() + ": config_groups." + shown(name);
    const JsonFields scheme(group, where);
    if (scheme.has("input_activations")) return refuse(scheme, "quantised input_activations");
    if (!scheme.has("weights") || !scheme.at("weights").is_object()) return scheme.wrong("weights", "an object");
    SPARING_TRY(const HfQuantization q, read_scheme(JsonFields(scheme.at("weights"), where + ".weights")));
    if (first && !same(*first, q)) return refuse(fields, "config_groups of different weight schemes");
    first = q;
  }
  return *first;
}

}  // namespace

bool is_packed_method(std::string_view method) {
  return method == "gptq" || method == "awq" || method == "compressed-tensors";
}

Result<std::optional<HfQuantization>> read_hf_quantization(const json& config, const std::string& where) {
  const JsonFields object(config, where);
  std::optional<HfQuantization> q;
  if (!object.has("quantization_config")) return q;
  const JsonFields fields(object.at("quantization_config"), where + ": quantization_config");
  SPARING_TRY(const std::string method, fields.string("quant_method", "(no quant_method)"));
  if (method == "gptq") {
    SPARING_TRY(q, read_gptq(fields));
  } else if (method == "awq") {
    SPARING_TRY(q, read_awq(fields));
  } else if (method == "compressed-tensors") {
    SPARING_TRY(q, read_compressed(fields));
  } else if (method != "sparing") {
    return input_error(where + ": the weights are quantised with " + shown(method) +
                       ", which is not read: use the original model or its GGUF");
  }
  return q;
}

}  // namespace sparing
