#include "codecs/codec_json.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string_view>

namespace sparing {
namespace {

using Json = nlohmann::json;
constexpr int kVersion = 1;
constexpr std::string_view kScales[] = {"f16", "coded"};
constexpr std::string_view kZeros[] = {"constant", "integer", "f16_min", "coded_min"};
constexpr std::string_view kTransforms[] = {"identity", "permutation", "diagonal", "hadamard"};

Json header(std::string_view codec) {
  return {{"codec", codec}, {"version", kVersion}};
}

/// A value from the file, fit for a one-line message.
std::string shown(const Json& value) {
  return value.dump(-1, ' ', true, Json::error_handler_t::replace).substr(0, 40);
}

void put_groups(Json& json, const GroupSpec& g) {
  json["group"] = g.group;
  json["scale"] = kScales[static_cast<std::size_t>(g.scale)];
  if (g.scale == ScaleKind::coded) {
    json["scale_bits"] = g.scale_bits;
    json["scale_offset"] = g.scale_offset;
  }
  if (g.super != 0) json["super"] = g.super;
}

void put_codes(Json& json, const IntGroupSpec& s) {
  json["bits"] = s.bits;
  put_groups(json, s.groups);
  json["zero"] = kZeros[static_cast<std::size_t>(s.zero)];
  if (s.zero == ZeroKind::constant) json["zero_offset"] = s.zero_offset;
  if (s.zero_bits != 0) json["zero_bits"] = s.zero_bits;
}

Json factor_json(const FactorSpec& s) {
  Json json = {{"bits", s.bits}};
  if (s.group != 0) json["group"] = s.group;
  return json;
}

void put_lowrank(Json& json, const LowRankSpec& s) {
  json["rank"] = s.rank;
  json["inner"] = factor_json(s.inner);
  json["outer"] = factor_json(s.outer);
}

/// Reads fields of one object, remembers the first error, and at the end refuses fields nobody asked for.
class Fields {
 public:
  Fields(const Json& json, std::string what) : json_(json), what_(std::move(what)) {}

  std::int64_t integer(const char* name, std::int64_t least, std::int64_t most, bool required = true) {
    const Json* value = find(name, required);
    if (value == nullptr) return 0;
    if (!value->is_number_integer() || (value->is_number_unsigned() && value->get<std::uint64_t>() > (1ull << 62)) ||
        value->get<std::int64_t>() < least || value->get<std::int64_t>() > most) {
      fail(std::string(name) + " " + shown(*value) + ": must be an integer from " + std::to_string(least) + " to " +
           std::to_string(most));
      return 0;
    }
    return value->get<std::int64_t>();
  }
  std::int32_t small(const char* name, bool required = true) {
    return static_cast<std::int32_t>(integer(name, 0, 0x7FFFFFFF, required));
  }
  std::string text(const char* name) {
    const Json* value = find(name, true);
    if (value == nullptr) return {};
    if (!value->is_string()) {
      fail(std::string(name) + " " + shown(*value) + ": must be a string");
      return {};
    }
    return value->get<std::string>();
  }
  template <class E, std::size_t N>
  E one_of(const char* name, const std::string_view (&names)[N]) {
    const std::string value = text(name);
    const auto at = std::find(std::begin(names), std::end(names), value);
    if (at == std::end(names)) {
      std::string known;
      for (const auto n : names) known += (known.empty() ? "" : ", ") + std::string(n);
      fail(std::string(name) + " " + shown(value) + ": not known; this reader knows " + known);
      return E{};
    }
    return static_cast<E>(at - std::begin(names));
  }
  bool boolean(const char* name) {
    const Json* value = find(name, true);
    if (value == nullptr) return false;
    if (!value->is_boolean()) fail(std::string(name) + " " + shown(*value) + ": must be true or false");
    return value->is_boolean() && value->get<bool>();
  }
  std::vector<float> floats(const char* name, std::size_t most) {
    const Json* value = find(name, true);
    std::vector<float> out;
    if (value == nullptr) return out;
    if (!value->is_array() || value->size() > most) {
      fail(std::string(name) + ": must be an array of at most " + std::to_string(most) + " numbers");
      return out;
    }
    for (const Json& v : *value) {
      const double d = v.is_number() ? v.get<double>() : NAN;
      if (!(std::fabs(d) <= 3.4028234e38)) {
        fail(std::string(name) + " " + shown(v) + ": must be finite numbers of single precision");
        return out;
      }
      out.push_back(static_cast<float>(d));
    }
    return out;
  }
  GroupSpec groups() {
    GroupSpec g;
    g.group = small("group");
    g.scale = one_of<ScaleKind>("scale", kScales);
    if (g.scale == ScaleKind::coded) {
      g.scale_bits = small("scale_bits");
      g.scale_offset = small("scale_offset");
    }
    g.super = small("super", false);
    return g;
  }
  FactorSpec factor(const char* name) {
    const Json* value = find(name, true);
    FactorSpec s;
    if (value == nullptr) return s;
    if (!value->is_object()) {
      fail(std::string(name) + " " + shown(*value) + ": must be an object");
      return s;
    }
    Fields fields(*value, what_ + " " + name);
    s.bits = fields.small("bits");
    s.group = fields.small("group", false);
    if (const Status status = fields.finish(); !status.ok() && !failed_) {
      error_ = status.error();
      failed_ = true;
    }
    return s;
  }
  /// Error if anything was wrong or is left over.
  Status finish() {
    if (failed_) return error_;
    for (const auto& [key, value] : json_.items())
      if (std::find(asked_.begin(), asked_.end(), key) == asked_.end())
        return input_error("[" + what_ + "] field " + shown(key) +
                           ": not known to this version; a newer Sparing may have written it");
    return {};
  }

 private:
  const Json* find(const char* name, bool required) {
    asked_.emplace_back(name);
    const auto at = json_.find(name);
    if (at != json_.end()) return &*at;
    if (required) fail(std::string("field \"") + name + "\": missing");
    return nullptr;
  }
  void fail(std::string message) {
    if (!failed_) error_ = input_error("[" + what_ + "] " + std::move(message));
    failed_ = true;
  }

  const Json& json_;
  std::string what_;
  std::vector<std::string> asked_;
  bool failed_ = false;
  Error error_;
};

}  // namespace

Json spec_to_json(const CodecSpec& spec) {
  Json json = header(codec_name(spec));
  if (const auto* dense = std::get_if<DenseSpec>(&spec)) {
    json["dtype"] = name_of(dense->dtype);
  } else if (const auto* integer = std::get_if<IntGroupSpec>(&spec)) {
    put_codes(json, *integer);
  } else if (const auto* some = std::get_if<IntRowsSpec>(&spec)) {
    json["count"] = some->count;
    put_codes(json, some->codes);
  } else if (const auto* lut = std::get_if<LutGroupSpec>(&spec)) {
    json["bits"] = lut->bits;
    put_groups(json, lut->groups);
    json["table"] = lut->table;
  } else if (const auto* csr = std::get_if<CsrSpec>(&spec)) {
    json["nonzeros"] = csr->nonzeros;
    json["wide_index"] = csr->wide_index;
  } else if (const auto* vq = std::get_if<VqAdditiveSpec>(&spec)) {
    json["vector"] = vq->vector;
    json["books"] = vq->books;
    json["bits"] = vq->bits;
    put_groups(json, vq->groups);
  } else if (const auto* ternary = std::get_if<TernaryDictSpec>(&spec)) {
    json["words"] = ternary->words;
  } else if (const auto* lowrank = std::get_if<LowRankSpec>(&spec)) {
    put_lowrank(json, *lowrank);
  } else if (const auto* signs = std::get_if<SignLowRankSpec>(&spec)) {
    put_lowrank(json, signs->magnitude);
  }
  return json;
}

Result<CodecSpec> spec_from_json(const Json& json) {
  if (!json.is_object()) return input_error("[codec] not a JSON object: the manifest is damaged");
  const auto codec = json.find("codec");
  const std::string name = codec != json.end() && codec->is_string() ? codec->get<std::string>() : "";
  const bool known = name == "dense" || name == "int_group" || name == "lut_group" || name == "csr" ||
                     name == "lowrank" || name == "vq_additive" || name == "ternary_dict" || name == "sign_lowrank" ||
                     name == "int_rows";
  Fields f(json, known ? name : "codec");
  f.text("codec");
  const std::int64_t version = f.integer("version", 0, 1 << 30);
  const auto finish = [&](CodecSpec spec) -> Result<CodecSpec> {
    if (version != kVersion && f.finish().ok())
      return input_error("[" + name + "] version " + std::to_string(version) + ": this reader knows version 1");
    SPARING_CHECK_OK(f.finish());
    return spec;
  };
  if (name == "dense") {
    const std::string dtype = f.text("dtype");
    const auto type = dtype_from_name(dtype);
    if (!type) return input_error("[dense] dtype " + shown(dtype) + ": not known");
    return finish(DenseSpec{*type});
  }
  if (name == "int_group" || name == "int_rows") {
    IntGroupSpec s;
    s.bits = f.small("bits");
    s.groups = f.groups();
    s.zero = f.one_of<ZeroKind>("zero", kZeros);
    s.zero_offset = s.zero == ZeroKind::constant ? f.small("zero_offset") : 0;
    s.zero_bits = f.small("zero_bits", false);
    if (name == "int_rows") return finish(IntRowsSpec{f.integer("count", 1, 0xFFFFFFFFll), s});
    return finish(s);
  }
  if (name == "lut_group") {
    LutGroupSpec s;
    s.bits = f.small("bits");
    s.groups = f.groups();
    s.table = f.floats("table", 256);
    return finish(s);
  }
  if (name == "csr") {
    CsrSpec s;
    s.nonzeros = f.integer("nonzeros", 0, 0xFFFFFFFFll);
    s.wide_index = f.boolean("wide_index");
    return finish(s);
  }
  if (name == "lowrank" || name == "sign_lowrank") {
    LowRankSpec s;
    s.rank = f.small("rank");
    s.inner = f.factor("inner");
    s.outer = f.factor("outer");
    if (name == "sign_lowrank") return finish(SignLowRankSpec{s});
    return finish(s);
  }
  if (name == "vq_additive") {
    VqAdditiveSpec s;
    s.vector = f.small("vector");
    s.books = f.small("books");
    s.bits = f.small("bits");
    s.groups = f.groups();
    return finish(s);
  }
  if (name == "ternary_dict") return finish(TernaryDictSpec{f.integer("words", 0, 0xFFFFFFFFll)});
  return input_error("[codec] " + shown(name) +
                     ": not known; this reader knows dense, int_group, lut_group, csr, lowrank, vq_additive, "
                     "ternary_dict, sign_lowrank, int_rows");
}

Json transform_to_json(const Transform& transform) {
  Json json = {{"transform", kTransforms[static_cast<std::size_t>(transform.kind)]}, {"version", kVersion}};
  if (transform.kind == TransformKind::hadamard) json["block"] = transform.block;
  return json;
}

Result<Transform> transform_from_json(const Json& json) {
  if (!json.is_object()) return input_error("[transform] not a JSON object: the manifest is damaged");
  Fields f(json, "transform");
  Transform t;
  t.kind = f.one_of<TransformKind>("transform", kTransforms);
  const std::int64_t version = f.integer("version", 0, 1 << 30);
  if (t.kind == TransformKind::hadamard) t.block = f.small("block");
  if (version != kVersion && f.finish().ok())
    return input_error("[transform] version " + std::to_string(version) + ": this reader knows version 1");
  SPARING_CHECK_OK(f.finish());
  return t;
}

}  // namespace sparing
