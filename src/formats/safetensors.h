#pragma once
// Safetensors: u64 header length, JSON header, then the tensors' bytes without gaps. The header of a file is untrusted.
// Format: https://github.com/huggingface/safetensors ("Format").

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/atomic_file.h"
#include "base/mapped_file.h"
#include "base/result.h"
#include "base/sha256.h"
#include "tensor/dtype.h"

namespace sparing {

struct SafeTensor {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0, end = 0;  ///< byte range in the file
};

struct SafetensorsHeader {
  std::vector<SafeTensor> tensors;              ///< in file order
  std::map<std::string, std::string> metadata;  ///< __metadata__
};

/// Header lengths above this are refused: real ones are below 1 MiB.
inline constexpr std::uint64_t kMaxSafetensorsHeader = 32ull << 20;

/// Checks everything: sizes that agree with shapes, ranges that cover the data without gap or overlap, known dtypes,
/// unique names. `where` begins the messages.
Result<SafetensorsHeader> parse_safetensors(Bytes file, const std::string& where);

/// A tensor to be written: bytes must be size_of(dtype) * elements.
struct SafeTensorPlan {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;
  std::uint64_t bytes() const;
};

/// Header of a file that holds these tensors in this order: length field, JSON and the spaces that make the data start
/// at a multiple of 64.
std::string safetensors_header(const std::vector<SafeTensorPlan>& tensors,
                               const std::map<std::string, std::string>& metadata);

/// Writes the tensors of a plan one after the other, in any number of pieces each. Nothing appears before commit().
class SafetensorsWriter {
 public:
  static Result<SafetensorsWriter> create(const std::filesystem::path& target, std::vector<SafeTensorPlan> tensors,
                                          const std::map<std::string, std::string>& metadata = {});
  /// The next bytes of the data section.
  Status write(Bytes data);
  /// Fails if fewer bytes were written than planned. Returns the SHA-256 of the whole file.
  Result<std::string> commit();
  std::uint64_t size() const { return file_.size(); }

 private:
  SafetensorsWriter(AtomicFile file, std::uint64_t planned) : file_(std::move(file)), planned_(planned) {}
  AtomicFile file_;
  Sha256 hash_;
  std::uint64_t planned_;  ///< size of the finished file
};

/// The tensors of one directory: one file, or the shards that model.safetensors.index.json names.
struct SafetensorsSet {
  struct Item {
    std::shared_ptr<const MappedFile> file;
    SafeTensor tensor;
    Bytes bytes() const { return file->bytes().subspan(tensor.begin, tensor.end - tensor.begin); }
  };
  std::map<std::string, Item> tensors;
  std::vector<std::shared_ptr<const MappedFile>> files;
};
Result<SafetensorsSet> open_safetensors(const std::vector<std::filesystem::path>& files);
/// The shards that an index file names, in order. Names with folders in them are refused.
Result<std::vector<std::filesystem::path>> read_safetensors_index(const std::filesystem::path& index);

}  // namespace sparing
