#pragma once
// GGUF, versions 2 and 3, little-endian: typed metadata, tensor infos, aligned data. The file is untrusted.
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "base/result.h"
#include "codecs/ggml.h"

namespace sparing {

enum class GgufType : std::uint32_t {
  u8 = 0,
  i8 = 1,
  u16 = 2,
  i16 = 3,
  u32 = 4,
  i32 = 5,
  f32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  u64 = 10,
  i64 = 11,
  f64 = 12,
};

/// One metadata value, still in the file's bytes (which parsing has checked to be whole).
class GgufValue {
 public:
  GgufValue() = default;
  GgufValue(GgufType type, GgufType element, std::uint64_t count, Bytes data)
      : type_(type), element_(element), count_(count), data_(data) {}
  GgufType type() const { return type_; }
  GgufType element() const { return element_; }   ///< of an array
  std::uint64_t count() const { return count_; }  ///< elements of an array; 1 otherwise
  bool is_array() const { return type_ == GgufType::array; }
  /// A scalar of any integer type (or bool) that fits; an element of an array of those.
  std::optional<std::int64_t> integer(std::uint64_t index = 0) const;
  /// Any numeric type.
  std::optional<double> real(std::uint64_t index = 0) const;
  std::optional<bool> boolean() const;
  std::optional<std::string_view> string() const;
  /// All elements of an array of strings.
  std::optional<std::vector<std::string>> strings() const;

 private:
  GgufType scalar_type() const { return is_array() ? element_ : type_; }
  GgufType type_ = GgufType::u8, element_ = GgufType::u8;
  std::uint64_t count_ = 0;
  Bytes data_;
};

struct GgufTensor {
  std::string name;
  std::vector<std::int64_t> shape;  ///< as the file has it: fastest first (inputs, then outputs)
  GgmlType type = GgmlType::f32;
  Bytes bytes;
  std::int64_t cols() const { return shape.empty() ? 1 : shape[0]; }
  std::int64_t rows() const { return shape.size() < 2 ? 1 : shape[1]; }
};

struct GgufHeader {
  std::uint32_t version = 3;
  std::map<std::string, GgufValue, std::less<>> metadata;
  std::vector<GgufTensor> tensors;  ///< in file order
  const GgufValue* find(std::string_view key) const;
};

/// Views into `file`, which must outlive them. Refuses truncation, overlap, misalignment, overflow, duplicate names and
/// keys, tensor types that Sparing does not read, big-endian files. `where` begins the messages.
Result<GgufHeader> parse_gguf(Bytes file, const std::string& where);

}  // namespace sparing
