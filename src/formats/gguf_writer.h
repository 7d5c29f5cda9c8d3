#pragma once
// Writes GGUF v3: metadata in the order given, tensors aligned to 32, streamed.

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/atomic_file.h"
#include "codecs/ggml.h"
#include "formats/gguf.h"

namespace sparing {

/// Key-value pairs, serialised as they are put.
class GgufMetadata {
 public:
  void put(std::string_view key, std::uint32_t value);
  void put(std::string_view key, float value);
  void put(std::string_view key, bool value);
  void put(std::string_view key, std::string_view value);
  void put(std::string_view key, const char* value) { put(key, std::string_view(value)); }
  void put(std::string_view key, const std::vector<std::string>& values);
  void put(std::string_view key, const std::vector<std::int32_t>& values);
  void put(std::string_view key, const std::vector<float>& values);
  std::uint64_t count() const { return count_; }
  const std::string& bytes() const { return bytes_; }

 private:
  void begin(std::string_view key, GgufType type);
  void begin_array(std::string_view key, GgufType element, std::uint64_t count);
  std::string bytes_;
  std::uint64_t count_ = 0;
};

struct GgufTensorPlan {
  std::string name;
  std::vector<std::int64_t> shape;  ///< fastest first, as GGUF has it
  GgmlType type = GgmlType::f32;
  std::uint64_t bytes() const;
};

/// Everything before the data section, padded to the alignment.
std::string gguf_header(const GgufMetadata& metadata, const std::vector<GgufTensorPlan>& tensors);

/// Takes the tensors' bytes in the order of the plan, in any number of pieces; pads between them.
class GgufWriter {
 public:
  static Result<GgufWriter> create(const std::filesystem::path& target, const GgufMetadata& metadata,
                                   const std::vector<GgufTensorPlan>& tensors);
  Status write(Bytes data);
  /// Fails if a tensor is not whole.
  Status commit();

 private:
  explicit GgufWriter(AtomicFile file) : file_(std::move(file)) {}
  Status finish_tensors();
  AtomicFile file_;
  std::vector<std::uint64_t> sizes_;
  std::size_t tensor_ = 0;
  std::uint64_t written_ = 0;  ///< of the current tensor
};

}  // namespace sparing
