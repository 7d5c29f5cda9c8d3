#include "formats/safetensors.h"

#include <algorithm>
#include <cstring>
#include <set>

#include "base/checked.h"
#include "formats/json.h"

namespace sparing {
namespace {

constexpr std::uint64_t kDataAlignment = 64;
constexpr std::size_t kMaxDimensions = 16;
constexpr std::uint64_t kMaxIndexBytes = 64ull << 20;

std::string dtype_names() {
  std::string names;
  for (int i = 0; i <= static_cast<int>(DType::boolean); ++i) {
    names += (i > 0 ? ", " : "") + std::string(name_of(static_cast<DType>(i)));
  }
  return names;
}

std::optional<std::uint64_t> as_size(const nlohmann::json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  return value.get<std::uint64_t>();
}

Result<SafeTensor> parse_tensor(const std::string& name, const nlohmann::json& entry, std::uint64_t data_start,
                                std::uint64_t data_size, const std::string& where) {
  const std::string label = where + ": tensor \"" + shown(name) + "\"";
  const auto fail = [&](const std::string& what) { return input_error(label + ": " + what); };
  if (!entry.is_object() || !entry.contains("dtype") || !entry.contains("shape") || !entry.contains("data_offsets")) {
    return fail("needs dtype, shape and data_offsets");
  }
  SafeTensor tensor;
  tensor.name = name;
  const auto& dtype = entry["dtype"];
  const auto known = dtype.is_string() ? dtype_from_name(dtype.get_ref<const std::string&>()) : std::nullopt;
  if (!known) return fail("dtype " + shown(dump_json(dtype)) + " is not supported: " + dtype_names() + " are");
  tensor.dtype = *known;

  const auto& shape = entry["shape"];
  if (!shape.is_array() || shape.size() > kMaxDimensions) return fail("shape must be a list of at most 16 sizes");
  std::optional<std::uint64_t> bytes = size_of(tensor.dtype);
  for (const auto& dimension : shape) {
    const auto size = as_size(dimension);
    if (!size || *size > static_cast<std::uint64_t>(INT64_MAX)) return fail("bad size " + shown(dump_json(dimension)));
    tensor.shape.push_back(static_cast<std::int64_t>(*size));
    bytes = checked_mul(*bytes, *size);
    if (!bytes) return fail("shape " + shown(dump_json(shape)) + " overflows");
  }

  const auto& offsets = entry["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned() || offsets[0] > offsets[1]) {
    return fail("bad data_offsets " + shown(dump_json(offsets)));
  }
  const auto begin = offsets[0].get<std::uint64_t>(), end = offsets[1].get<std::uint64_t>();
  if (end > data_size) {
    return fail("ends at byte " + std::to_string(end) + " of " + std::to_string(data_size) +
                ": the file is truncated, download it again");
  }
  if (end - begin != *bytes) {
    return fail("holds " + std::to_string(end - begin) + " bytes where its shape needs " + std::to_string(*bytes));
  }
  tensor.begin = data_start + begin;
  tensor.end = data_start + end;
  return tensor;
}

Status check_coverage(const std::vector<SafeTensor>& sorted, std::uint64_t data_start, std::uint64_t file_size,
                      const std::string& where) {
  std::uint64_t at = data_start;
  for (const SafeTensor& tensor : sorted) {
    if (tensor.begin < at) {
      return input_error(where + ": tensor \"" + shown(tensor.name) + "\" overlaps the one before it");
    }
    if (tensor.begin > at) {
      return input_error(where + ": " + std::to_string(tensor.begin - at) + " bytes before tensor \"" +
                         shown(tensor.name) + "\" belong to none");
    }
    at = tensor.end;
  }
  if (at != file_size) {
    return input_error(where + ": " + std::to_string(file_size - at) + " bytes at the end belong to no tensor");
  }
  return {};
}

}  // namespace

Result<SafetensorsHeader> parse_safetensors(Bytes file, const std::string& where) {
  if (file.size() < 8)
    return input_error(where + ": " + std::to_string(file.size()) + " bytes are no safetensors file");
  std::uint64_t length;
  std::memcpy(&length, file.data(), 8);
  if (length > kMaxSafetensorsHeader) {
    return input_error(where + ": header of " + std::to_string(length) + " bytes: at most " +
                       std::to_string(kMaxSafetensorsHeader) + " are read (is this a safetensors file?)");
  }
  if (length > file.size() - 8) {
    return input_error(where + ": header of " + std::to_string(length) + " bytes in a file of " +
                       std::to_string(file.size()) + ": the file is truncated, download it again");
  }
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + 8, length);
  if (text.empty() || text.front() != '{') return input_error(where + ": the safetensors header is not a JSON object");
  SPARING_TRY(const nlohmann::json json, parse_json(text, where + ": safetensors header"));

  SafetensorsHeader header;
  const std::uint64_t data_start = 8 + length;
  for (const auto& [name, entry] : json.items()) {
    if (name == "__metadata__") {
      if (!entry.is_object()) return input_error(where + ": __metadata__ must be an object");
      for (const auto& [key, value] : entry.items()) {
        if (!value.is_string()) return input_error(where + ": __metadata__." + shown(key) + " must be a string");
        header.metadata[key] = value.get<std::string>();
      }
      continue;
    }
    SPARING_TRY(SafeTensor tensor, parse_tensor(name, entry, data_start, file.size() - data_start, where));
    header.tensors.push_back(std::move(tensor));
  }
  std::sort(header.tensors.begin(), header.tensors.end(), [](const SafeTensor& a, const SafeTensor& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  SPARING_CHECK_OK(check_coverage(header.tensors, data_start, file.size(), where));
  return header;
}

std::uint64_t SafeTensorPlan::bytes() const {
  std::uint64_t total = size_of(dtype);
  for (const std::int64_t size : shape) total *= static_cast<std::uint64_t>(size);
  return total;
}

std::string safetensors_header(const std::vector<SafeTensorPlan>& tensors,
                               const std::map<std::string, std::string>& metadata) {
  // Written by hand to keep the tensors in file order: readers then touch the file front to back.
  std::string text = "{";
  const auto quoted = [](const std::string& s) { return dump_json(s); };
  if (!metadata.empty()) text += "\"__metadata__\":" + dump_json(metadata);
  std::uint64_t at = 0;
  for (const SafeTensorPlan& tensor : tensors) {
    if (text.size() > 1) text += ',';
    text += quoted(tensor.name) + ":{\"dtype\":\"" + std::string(name_of(tensor.dtype)) + "\",\"shape\":[";
    for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
      text += (i > 0 ? "," : "") + std::to_string(tensor.shape[i]);
    }
    text += "],\"data_offsets\":[" + std::to_string(at) + ",";
    at += tensor.bytes();
    text += std::to_string(at) + "]}";
  }
  text += "}";
  text.resize(round_up(text.size() + 8, kDataAlignment) - 8, ' ');
  const std::uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + text;
}

Result<SafetensorsWriter> SafetensorsWriter::create(const std::filesystem::path& target,
                                                    std::vector<SafeTensorPlan> tensors,
                                                    const std::map<std::string, std::string>& metadata) {
  const std::string header = safetensors_header(tensors, metadata);
  std::uint64_t planned = header.size();
  for (const SafeTensorPlan& tensor : tensors) planned += tensor.bytes();
  SPARING_TRY(AtomicFile file, AtomicFile::create(target));
  SafetensorsWriter writer(std::move(file), planned);
  SPARING_CHECK_OK(writer.write(std::as_bytes(std::span(header))));
  return writer;
}

Status SafetensorsWriter::write(Bytes data) {
  hash_.update(data);
  return file_.write(data);
}

Result<std::string> SafetensorsWriter::commit() {
  if (file_.size() != planned_) {
    return internal_error("[write] safetensors: " + std::to_string(file_.size()) + " bytes written, " +
                          std::to_string(planned_) + " planned");
  }
  SPARING_CHECK_OK(file_.commit());
  return hash_.finish();
}

Result<SafetensorsSet> open_safetensors(const std::vector<std::filesystem::path>& files) {
  SafetensorsSet set;
  for (const auto& path : files) {
    SPARING_TRY(auto file, MappedFile::open(path));
    const std::string where = "[open] " + path.string();
    SPARING_TRY(SafetensorsHeader header, parse_safetensors(file->bytes(), where));
    for (SafeTensor& tensor : header.tensors) {
      const std::string name = tensor.name;
      if (!set.tensors.emplace(name, SafetensorsSet::Item{file, std::move(tensor)}).second) {
        return input_error(where + ": tensor \"" + shown(name) + "\" is in another shard as well");
      }
    }
    set.files.push_back(std::move(file));
  }
  return set;
}

Result<std::vector<std::filesystem::path>> read_safetensors_index(const std::filesystem::path& index) {
  const std::string where = "[open] " + index.string();
  SPARING_TRY(const std::string text, read_text_file(index, kMaxIndexBytes));
  SPARING_TRY(const nlohmann::json json, parse_json(text, where));
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object()) {
    return input_error(where + ": weight_map is missing");
  }
  std::set<std::string> names;
  for (const auto& [tensor, shard] : json["weight_map"].items()) {
    if (!shard.is_string()) return input_error(where + ": weight_map." + shown(tensor) + " must name a file");
    const std::string& name = shard.get_ref<const std::string&>();
    if (name.empty() || name.find('/') != std::string::npos || name == "." || name == ".." ||
        name.find('\0') != std::string::npos) {
      return input_error(where + ": the shard \"" + shown(name) + "\" is not a file name in this folder");
    }
    names.insert(name);
  }
  if (names.empty()) return input_error(where + ": weight_map names no shard");
  std::vector<std::filesystem::path> paths;
  for (const std::string& name : names) paths.push_back(index.parent_path() / name);
  return paths;
}

}  // namespace sparing
