#include "formats/gguf.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <set>

#include "base/checked.h"
#include "formats/json.h"

namespace sparing {
namespace {

constexpr std::uint64_t kMaxKey = 65535, kMaxTensorName = 1024, kMaxTensors = 1 << 20, kMaxPairs = 1 << 20;
constexpr std::uint32_t kMaxDimensions = 4, kMaxAlignment = 1 << 20;
constexpr int kMaxArrayDepth = 8;

std::uint64_t scalar_size(GgufType type) {
  switch (type) {
    case GgufType::u8:
    case GgufType::i8:
    case GgufType::boolean:
      return 1;
    case GgufType::u16:
    case GgufType::i16:
      return 2;
    case GgufType::u32:
    case GgufType::i32:
    case GgufType::f32:
      return 4;
    case GgufType::u64:
    case GgufType::i64:
    case GgufType::f64:
      return 8;
    case GgufType::string:
    case GgufType::array:
      break;
  }
  return 0;
}

template <class T>
T load(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

/// Reads front to back; every read says whether the bytes were there.
class Cursor {
 public:
  explicit Cursor(Bytes file) : file_(file) {}
  std::uint64_t at() const { return at_; }
  std::uint64_t left() const { return file_.size() - at_; }
  std::optional<Bytes> take(std::uint64_t count) {
    if (count > left()) return std::nullopt;
    const Bytes part = file_.subspan(at_, count);
    at_ += count;
    return part;
  }
  template <class T>
  std::optional<T> number() {
    const auto part = take(sizeof(T));
    if (!part) return std::nullopt;
    return load<T>(part->data());
  }
  std::optional<std::string_view> string(std::uint64_t max) {
    const auto length = number<std::uint64_t>();
    if (!length || *length > max) return std::nullopt;
    const auto part = take(*length);
    if (!part) return std::nullopt;
    return std::string_view(reinterpret_cast<const char*>(part->data()), part->size());
  }
  Bytes since(std::uint64_t start) const { return file_.subspan(start, at_ - start); }

 private:
  Bytes file_;
  std::uint64_t at_ = 0;
};

bool known(std::uint32_t type) {
  return type <= static_cast<std::uint32_t>(GgufType::f64);
}

/// Skips `count` values of `type`, checking that they are whole.
bool skip_values(Cursor& cursor, GgufType type, std::uint64_t count, int depth) {
  if (const std::uint64_t size = scalar_size(type); size > 0) {
    const auto bytes = checked_mul(size, count);
    return bytes && cursor.take(*bytes);
  }
  // Each string or array takes at least 8 bytes: bounds the loop before it starts.
  if (count > cursor.left() / 8) return false;
  for (std::uint64_t i = 0; i < count; ++i) {
    if (type == GgufType::string) {
      if (!cursor.string(cursor.left())) return false;
      continue;
    }
    const auto element = cursor.number<std::uint32_t>();
    const auto inner = cursor.number<std::uint64_t>();
    if (!element || !known(*element) || !inner || depth >= kMaxArrayDepth) return false;
    if (!skip_values(cursor, static_cast<GgufType>(*element), *inner, depth + 1)) return false;
  }
  return true;
}

std::optional<GgufValue> read_value(Cursor& cursor, GgufType type) {
  if (type != GgufType::array) {
    const std::uint64_t start = cursor.at();
    if (!skip_values(cursor, type, 1, 0)) return std::nullopt;
    return GgufValue(type, type, 1, cursor.since(start));
  }
  const auto element = cursor.number<std::uint32_t>();
  const auto count = cursor.number<std::uint64_t>();
  if (!element || !known(*element) || !count) return std::nullopt;
  const std::uint64_t start = cursor.at();
  if (!skip_values(cursor, static_cast<GgufType>(*element), *count, 1)) return std::nullopt;
  return GgufValue(type, static_cast<GgufType>(*element), *count, cursor.since(start));
}

std::string supported_types() {
  std::string names;
  for (std::uint32_t id = 0; id < 64; ++id) {
    if (const GgmlTraits* traits = ggml_traits(id)) names += (names.empty() ? "" : ", ") + std::string(traits->name);
  }
  return names;
}

struct TensorInfo {
  GgufTensor tensor;
  std::uint64_t offset = 0, size = 0;
};

Result<TensorInfo> read_tensor_info(Cursor& cursor, const std::string& where) {
  const Error truncated = input_error(where + ": the tensor list is truncated or broken: download the file again");
  TensorInfo info;
  const auto name = cursor.string(kMaxTensorName);
  const auto dimensions = cursor.number<std::uint32_t>();
  if (!name || !dimensions) return truncated;
  info.tensor.name = *name;
  const std::string label = where + ": tensor \"" + shown(*name) + "\"";
  if (*dimensions > kMaxDimensions) {
    return input_error(label + " has " + std::to_string(*dimensions) + " dimensions: at most 4 are read");
  }
  std::optional<std::uint64_t> elements = 1;
  for (std::uint32_t i = 0; i < *dimensions; ++i) {
    const auto size = cursor.number<std::uint64_t>();
    if (!size) return truncated;
    elements =
        *size == 0 || *size > static_cast<std::uint64_t>(INT64_MAX) ? std::nullopt : checked_mul(*elements, *size);
    if (!elements || *elements > static_cast<std::uint64_t>(INT64_MAX)) {
      return input_error(label + ": size " + std::to_string(*size) + " is absurd");
    }
    info.tensor.shape.push_back(static_cast<std::int64_t>(*size));
  }
  const auto type = cursor.number<std::uint32_t>();
  const auto offset = cursor.number<std::uint64_t>();
  if (!type || !offset) return truncated;
  const GgmlTraits* traits = ggml_traits(*type);
  if (traits == nullptr) {
    return input_error(label + " has type " + ggml_type_name(*type) + ", which is not read: " + supported_types() +
                       " are; convert the file to one of these");
  }
  info.tensor.type = traits->type;
  const auto block = static_cast<std::uint64_t>(traits->block_weights);
  if (static_cast<std::uint64_t>(info.tensor.cols()) % block != 0) {
    return input_error(label + ": rows of " + std::to_string(info.tensor.cols()) + " do not divide into blocks of " +
                       std::to_string(block) + " (" + std::string(traits->name) + ")");
  }
  const auto size = checked_mul(*elements / block, static_cast<std::uint64_t>(traits->block_bytes));
  if (!size) return input_error(label + ": its size overflows");
  info.size = *size;
  info.offset = *offset;
  return info;
}

Status place_tensors(std::vector<TensorInfo>& infos, Bytes file, std::uint64_t data_start, std::uint64_t alignment,
                     const std::string& where) {
  const std::uint64_t data_size = file.size() > data_start ? file.size() - data_start : 0;
  std::vector<const TensorInfo*> order;
  for (TensorInfo& info : infos) {
    const std::string label = where + ": tensor \"" + shown(info.tensor.name) + "\"";
    if (info.offset % alignment != 0) {
      return input_error(label + " starts at " + std::to_string(info.offset) + ", not a multiple of " +
                         std::to_string(alignment));
    }
    const auto end = checked_add(info.offset, info.size);
    if (!end || *end > data_size) {
      return input_error(label + " needs " + std::to_string(info.size) + " bytes from " + std::to_string(info.offset) +
                         ", the file has " + std::to_string(data_size) + ": it is truncated, download it again");
    }
    info.tensor.bytes = file.subspan(data_start + info.offset, info.size);
    order.push_back(&info);
  }
  std::sort(order.begin(), order.end(), [](const auto* a, const auto* b) { return a->offset < b->offset; });
  for (std::size_t i = 1; i < order.size(); ++i) {
    if (order[i - 1]->offset + order[i - 1]->size > order[i]->offset) {
      return input_error(where + ": tensors \"" + shown(order[i - 1]->tensor.name) + "\" and \"" +
                         shown(order[i]->tensor.name) + "\" overlap");
    }
  }
  return {};
}

Result<std::uint64_t> read_alignment(const GgufHeader& header, const std::string& where) {
  const GgufValue* value = header.find("general.alignment");
  if (value == nullptr) return std::uint64_t{32};
  const auto number = value->is_array() ? std::nullopt : value->integer();
  if (!number || *number < 8 || *number > kMaxAlignment || !std::has_single_bit(static_cast<std::uint64_t>(*number))) {
    return input_error(where + ": general.alignment must be a power of two from 8 to 1048576");
  }
  return static_cast<std::uint64_t>(*number);
}

}  // namespace

std::optional<std::int64_t> GgufValue::integer(std::uint64_t index) const {
  if (index >= count_) return std::nullopt;
  const GgufType type = scalar_type();
  const std::byte* p = data_.data() + index * scalar_size(type);
  switch (type) {
    case GgufType::u8:
    case GgufType::boolean:
      return load<std::uint8_t>(p);
    case GgufType::i8:
      return load<std::int8_t>(p);
    case GgufType::u16:
      return load<std::uint16_t>(p);
    case GgufType::i16:
      return load<std::int16_t>(p);
    case GgufType::u32:
      return load<std::uint32_t>(p);
    case GgufType::i32:
      return load<std::int32_t>(p);
    case GgufType::i64:
      return load<std::int64_t>(p);
    case GgufType::u64: {
      const auto value = load<std::uint64_t>(p);
      if (value > static_cast<std::uint64_t>(INT64_MAX)) return std::nullopt;
      return static_cast<std::int64_t>(value);
    }
    default:
      return std::nullopt;
  }
}

std::optional<double> GgufValue::real(std::uint64_t index) const {
  if (index >= count_) return std::nullopt;
  const GgufType type = scalar_type();
  const std::byte* p = data_.data() + index * scalar_size(type);
  if (type == GgufType::f32) return load<float>(p);
  if (type == GgufType::f64) return load<double>(p);
  const auto number = integer(index);
  if (!number) return std::nullopt;
  return static_cast<double>(*number);
}

std::optional<bool> GgufValue::boolean() const {
  if (type_ != GgufType::boolean) return std::nullopt;
  return load<std::uint8_t>(data_.data()) != 0;
}

std::optional<std::string_view> GgufValue::string() const {
  if (type_ != GgufType::string) return std::nullopt;
  return std::string_view(reinterpret_cast<const char*>(data_.data()) + 8, data_.size() - 8);
}

std::optional<std::vector<std::string>> GgufValue::strings() const {
  if (!is_array() || element_ != GgufType::string) return std::nullopt;
  std::vector<std::string> all;
  all.reserve(count_);
  Cursor cursor(data_);
  for (std::uint64_t i = 0; i < count_; ++i) {
    const auto text = cursor.string(data_.size());
    if (!text) return std::nullopt;
    all.emplace_back(*text);
  }
  return all;
}

const GgufValue* GgufHeader::find(std::string_view key) const {
  const auto found = metadata.find(key);
  return found == metadata.end() ? nullptr : &found->second;
}

Result<GgufHeader> parse_gguf(Bytes file, const std::string& where) {
  Cursor cursor(file);
  const auto fail = [&](const std::string& what) { return input_error(where + ": " + what); };
  const auto magic = cursor.take(4);
  if (!magic || std::memcmp(magic->data(), "GGUF", 4) != 0) return fail("not a GGUF file");
  GgufHeader header;
  const auto version = cursor.number<std::uint32_t>();
  const auto tensors = cursor.number<std::uint64_t>();
  const auto pairs = cursor.number<std::uint64_t>();
  if (!version) return fail("the GGUF header is truncated: download the file again");
  if (*version == 0x02000000 || *version == 0x03000000) return fail("big-endian GGUF is not read: convert it");
  if (*version != 2 && *version != 3) {
    return fail("GGUF version " + std::to_string(*version) + " is not read: 2 and 3 are");
  }
  if (!tensors || !pairs) return fail("the GGUF header is truncated: download the file again");
  // The least that a tensor or a pair can take bounds their numbers by the file's size.
  if (*tensors > kMaxTensors || *tensors > cursor.left() / 24)
    return fail(std::to_string(*tensors) +
                " tensors announced, more than the file can hold: it is truncated or damaged, download it again");
  if (*pairs > kMaxPairs || *pairs > cursor.left() / 13)
    return fail(
        std::to_string(*pairs) +
        " metadata pairs announced, more than the file can hold: it is truncated or damaged, download it again");
  header.version = *version;

  for (std::uint64_t i = 0; i < *pairs; ++i) {
    const auto key = cursor.string(kMaxKey);
    const auto type = cursor.number<std::uint32_t>();
    if (!key || !type)
      return fail("metadata pair " + std::to_string(i) + " is truncated or broken: download the file again");
    if (!known(*type)) return fail("metadata \"" + shown(*key) + "\" has unknown type " + std::to_string(*type));
    const auto value = read_value(cursor, static_cast<GgufType>(*type));
    if (!value) return fail("metadata \"" + shown(*key) + "\" is truncated or broken: download the file again");
    if (!header.metadata.emplace(*key, *value).second) return fail("metadata \"" + shown(*key) + "\" occurs twice");
  }
  SPARING_TRY(const std::uint64_t alignment, read_alignment(header, where));

  std::vector<TensorInfo> infos;
  std::set<std::string> names;
  for (std::uint64_t i = 0; i < *tensors; ++i) {
    SPARING_TRY(TensorInfo info, read_tensor_info(cursor, where));
    if (!names.insert(info.tensor.name).second) return fail("tensor \"" + shown(info.tensor.name) + "\" occurs twice");
    infos.push_back(std::move(info));
  }
  SPARING_CHECK_OK(place_tensors(infos, file, round_up(cursor.at(), alignment), alignment, where));
  for (TensorInfo& info : infos) header.tensors.push_back(std::move(info.tensor));
  return header;
}

}  // namespace sparing
