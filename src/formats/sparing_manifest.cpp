#include "formats/sparing_manifest.h"

#include <algorithm>
#include <initializer_list>

#include "codecs/codec_json.h"
#include "formats/json.h"
#include "formats/sparing_writer.h"

namespace sparing {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr std::size_t kTensorHashDigits = 16, kFileHashDigits = 64;
constexpr std::int64_t kMaxExtent = std::int64_t{1} << 40;

/// Position of `value` in a list where every value stands once.
std::size_t intern(ordered_json& list, const json& value) {
  const ordered_json wanted = ordered_json::parse(dump_json(value));
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (list[i] == wanted) return i;
  }
  list.push_back(wanted);
  return list.size() - 1;
}

Result<ordered_json> object_of(const std::string& text, const char* what) {
  ordered_json value = ordered_json::parse(text.empty() ? "{}" : text, nullptr, false);
  if (!value.is_object()) return internal_error(std::string("[write] ") + what + " is not a JSON object");
  return value;
}

Status only_fields(const json& object, std::initializer_list<const char*> known, const std::string& where) {
  for (const auto& [key, value] : object.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return input_error(where + ": unknown field \"" + shown(key) + "\": a newer Sparing may have written it");
    }
  }
  return {};
}

bool is_hash(const json& value, std::size_t digits) {
  if (!value.is_string()) return false;
  const auto& text = value.get_ref<const std::string&>();
  return text.size() == digits && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

template <class T>
Result<std::vector<T>> read_list(const json& object, const char* key, Result<T> (*read)(const json&),
                                 const std::string& where) {
  std::vector<T> all;
  if (!object.contains(key)) return all;
  if (!object[key].is_array()) return input_error(where + ": " + key + " must be a list");
  for (std::size_t i = 0; i < object[key].size(); ++i) {
    auto one = read(object[key][i]);
    if (!one.ok()) return input_error(where + ": " + key + "[" + std::to_string(i) + "]: " + one.error().message);
    all.push_back(*std::move(one));
  }
  return all;
}

/// An index into a list of `size`; size where it is not one.
std::size_t index_of(const json& value, std::size_t size) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() >= size) return size;
  return value.get<std::size_t>();
}

Result<ManifestTensor> read_tensor(const std::string& name, const json& entry, const std::vector<CodecSpec>& codings,
                                   const std::vector<Transform>& transforms, const std::string& where) {
  const std::string label = where + ": tensor \"" + shown(name) + "\"";
  if (!entry.is_object()) return input_error(label + " must be an object");
  SPARING_CHECK_OK(only_fields(entry, {"shape", "terms", "input", "sha256"}, label));
  ManifestTensor tensor;
  tensor.shape.name = name;
  const json &shape = JsonFields(entry, label).at("shape"), &terms = JsonFields(entry, label).at("terms");
  const auto extent = [&](std::size_t i) -> std::int64_t {
    const bool good = shape[i].is_number_unsigned() && shape[i].get<std::uint64_t>() <= kMaxExtent;
    return good ? shape[i].get<std::int64_t>() : 0;
  };
  if (!shape.is_array() || shape.empty() || shape.size() > 2 || extent(0) < 1 || extent(shape.size() - 1) < 1) {
    return input_error(label + ": bad shape " + shown(dump_json(shape)));
  }
  tensor.shape.rows = extent(0);
  tensor.shape.cols = shape.size() == 2 ? extent(1) : 0;
  if (!terms.is_array() || terms.empty() || terms.size() > 16) return input_error(label + ": needs 1 to 16 terms");
  for (const json& term : terms) {
    const std::size_t index = index_of(term, codings.size());
    if (index == codings.size()) return input_error(label + ": no coding " + shown(dump_json(term)));
    tensor.terms.push_back(codings[index]);
  }
  if (entry.contains("input")) {
    const std::size_t index = index_of(entry["input"], transforms.size());
    if (index == transforms.size()) return input_error(label + ": no transform " + shown(dump_json(entry["input"])));
    tensor.input = transforms[index];
  }
  if (!entry.contains("sha256") || !is_hash(entry["sha256"], kTensorHashDigits)) {
    return input_error(label + ": sha256 must be 16 hexadecimal digits");
  }
  tensor.hash = entry["sha256"].get<std::string>();
  if (tensor.shape.is_vector() && (tensor.terms.size() != 1 || tensor.input.kind != TransformKind::identity ||
                                   !std::holds_alternative<DenseSpec>(tensor.terms[0]))) {
    return input_error(label + ": a vector must be one dense term");
  }
  return tensor;
}

Status read_versions(const json& object, const std::string& where, bool& newer) {
  const JsonFields fields(object, where);
  if (fields.at("format") != "sparing") return fields.wrong("format", "\"sparing\"");
  SPARING_TRY(const auto version, fields.integer("version", {}, 1));
  SPARING_TRY(const auto oldest, fields.integer("oldest_reader", {}, 1));
  if (oldest > kManifestVersion) {
    return input_error(where + ": format version " + std::to_string(version) + " needs a reader of version " +
                       std::to_string(oldest) + ", this one has " + std::to_string(kManifestVersion) +
                       ": use a newer Sparing");
  }
  newer = version > kManifestVersion;
  return {};
}

}  // namespace

std::string stored_name(const std::string& tensor, std::size_t term) {
  return term == 0 ? tensor : tensor + ".term" + std::to_string(term);
}
std::string stored_input_name(const std::string& tensor) {
  return tensor + ".input";
}

std::string role_of(const std::string& tensor) {
  if (tensor == "embed") return "embedding";
  if (tensor == "head") return "head";
  if (tensor.ends_with("norm")) return "norm";
  return tensor.find(".attn.") != std::string::npos ? "attention" : "mlp";
}

Result<std::string> manifest_to_json(const Manifest& manifest) {
  ordered_json codings = ordered_json::array(), transforms = ordered_json::array(), tensors = ordered_json::object(),
               files = ordered_json::object(), ledger = ordered_json::object();
  for (const ManifestTensor& tensor : manifest.tensors) {
    ordered_json entry, shape = {tensor.shape.rows}, terms = ordered_json::array();
    if (!tensor.shape.is_vector()) shape.push_back(tensor.shape.cols);
    for (const CodecSpec& spec : tensor.terms) terms.push_back(intern(codings, spec_to_json(spec)));
    entry["shape"] = shape;
    entry["terms"] = terms;
    if (tensor.input.kind != TransformKind::identity) {
      entry["input"] = intern(transforms, transform_to_json(tensor.input));
    }
    entry["sha256"] = tensor.hash;
    tensors[tensor.shape.name] = std::move(entry);
  }
  for (const auto& [name, hash] : manifest.files) files[name] = hash;
  for (const auto& [role, bytes] : manifest.ledger) ledger[role] = bytes;
  ordered_json out;
  out["format"] = "sparing";
  out["version"] = kManifestVersion;
  out["oldest_reader"] = kOldestReader;
  out["codings"] = std::move(codings);
  if (!transforms.empty()) out["transforms"] = std::move(transforms);
  out["tensors"] = std::move(tensors);
  out["files"] = std::move(files);
  out["ledger"] = std::move(ledger);
  SPARING_TRY(out["recipe"], object_of(manifest.recipe, "the recipe"));
  SPARING_TRY(out["provenance"], object_of(manifest.provenance, "the provenance"));
  return out.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

Result<Manifest> manifest_from_json(const std::string& text, const std::string& where) {
  SPARING_TRY(const json object, parse_json(text, where));
  if (!object.is_object()) return input_error(where + ": not a JSON object");
  bool newer = false;
  SPARING_CHECK_OK(read_versions(object, where, newer));
  if (!newer) {
    SPARING_CHECK_OK(only_fields(object,
                                 {"format", "version", "oldest_reader", "codings", "transforms", "tensors", "files",
                                  "ledger", "recipe", "provenance"},
                                 where));
  }
  SPARING_TRY(const auto codings, read_list<CodecSpec>(object, "codings", spec_from_json, where));
  SPARING_TRY(const auto transforms, read_list<Transform>(object, "transforms", transform_from_json, where));
  Manifest manifest;
  const JsonFields fields(object, where);
  if (!fields.at("tensors").is_object()) return fields.wrong("tensors", "an object");
  for (const auto& [name, entry] : fields.at("tensors").items()) {
    SPARING_TRY(ManifestTensor tensor, read_tensor(name, entry, codings, transforms, where));
    manifest.tensors.push_back(std::move(tensor));
  }
  if (!fields.at("files").is_object()) return fields.wrong("files", "an object");
  for (const auto& [name, hash] : fields.at("files").items()) {
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos ||
        name.find('\0') != std::string::npos) {
      return input_error(where + ": files: \"" + shown(name) + "\" is not a file name in this folder");
    }
    if (!is_hash(hash, kFileHashDigits)) return input_error(where + ": files: " + shown(name) + ": bad sha256");
    manifest.files[name] = hash.get<std::string>();
  }
  if (fields.has("ledger")) {
    if (!fields.at("ledger").is_object()) return fields.wrong("ledger", "an object");
    for (const auto& [role, bytes] : fields.at("ledger").items()) {
      if (!bytes.is_number_unsigned()) return input_error(where + ": ledger: " + shown(role) + " must be a size");
      manifest.ledger.emplace_back(role, bytes.get<std::uint64_t>());
    }
  }
  if (fields.has("recipe")) manifest.recipe = dump_json(fields.at("recipe"));
  if (fields.has("provenance")) manifest.provenance = dump_json(fields.at("provenance"));
  return manifest;
}

}  // namespace sparing
